//! Listings of directories, for people and for programs.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
};

use crate::support::{Server, Site};

fn site() -> Server {
    Site::new()
        .file("files/b.txt", "22")
        .file("files/a.css", "1")
        .file("files/c.txt", "")
        .file("files/sub dir/deep/x", "")
        .serve()
}

/// The names of a listing in their order.
fn names(server: &Server, target: &str) -> Vec<String> {
    let page = server.get(target).text();
    let (_, table) = page.split_once("<tbody>").expect("a table");
    let links = table.split("<a href=\"").skip(1);
    let hrefs = links.map(|link| link.split('"').next().unwrap().to_owned());
    hrefs.filter(|href| href != "../").collect()
}

#[test]
fn a_listing_is_sorted_by_any_column_through_its_links() {
    let server = site();
    for (query, expected) in [
        ("", ["sub%20dir/", "a.css", "b.txt", "c.txt"]),
        (
            "?sort=name&order=desc",
            ["sub%20dir/", "c.txt", "b.txt", "a.css"],
        ),
        (
            "?sort=size&order=asc",
            ["sub%20dir/", "c.txt", "a.css", "b.txt"],
        ),
        (
            "?sort=size&order=desc",
            ["sub%20dir/", "b.txt", "a.css", "c.txt"],
        ),
        (
            "?sort=type&order=desc",
            ["sub%20dir/", "b.txt", "c.txt", "a.css"],
        ),
        (
            "?sort=%3Cscript%3E",
            ["sub%20dir/", "a.css", "b.txt", "c.txt"],
        ),
    ] {
        assert_eq!(
            names(&server, &format!("/files/{query}")),
            expected,
            "{query}"
        );
    }
    let page = server.get("/files/?sort=size&order=asc").text();
    assert!(
        page.contains("href=\"?sort=size&amp;order=desc\""),
        "{page}"
    );
    assert!(page.contains("aria-sort=\"ascending\""), "{page}");
    assert!(page.contains("href=\"?sort=date&amp;order=asc\""), "{page}");
    assert!(!page.contains("<script"), "{page}");
    assert!(
        page.contains("viewport") && page.contains("color-scheme:light dark"),
        "{page}"
    );
}

#[test]
fn the_way_back_is_links() {
    let server = site();
    let page = server.get("/files/sub%20dir/").text();
    for link in [
        "<a href=\"/\">/</a>",
        "<a href=\"/files/\">files</a>",
        "<a href=\"/files/sub%20dir/\">sub dir</a>",
        "<a href=\"../\">..</a>",
    ] {
        assert!(page.contains(link), "{link}: {page}");
    }
}

#[test]
fn programs_get_json() {
    let server = site();
    let response = server.request("GET", "/files/", "Accept: application/json\r\n", "");
    assert_eq!(response.field("content-type"), Some("application/json"));
    assert_eq!(response.field("vary"), Some("accept, accept-encoding"));
    let list: serde_json::Value = serde_json::from_slice(&response.content).unwrap();
    let entry = &list[2];
    assert_eq!(list.as_array().unwrap().len(), 4);
    assert_eq!(entry["name"], "b.txt");
    assert_eq!(entry["type"], "file");
    assert_eq!(entry["media-type"], "text/plain");
    assert_eq!(entry["size"], 2);
    assert!(
        entry["modified"].as_str().unwrap().ends_with('Z'),
        "{entry}"
    );
    assert_eq!(list[0]["href"], "sub%20dir/");
    let sorted = server.request(
        "GET",
        "/files/?sort=size&order=desc",
        "Accept: application/json, */*;q=0.1\r\n",
        "",
    );
    let list: serde_json::Value = serde_json::from_slice(&sorted.content).unwrap();
    assert_eq!(list[1]["name"], "b.txt");
    let browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
    let page = server.request("GET", "/files/", browser, "");
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
}

#[test]
fn names_of_any_bytes_lead_to_their_files() {
    let server = Site::new().file("files/x", "").serve();
    let directory = server.site().root().join("files");
    let names: [&[u8]; 9] = [
        b"<b>&\"'.txt",
        b"a b+c%20d",
        b"\xff\xfe",
        b"q?x=1#y",
        b"javascript:alert(1)",
        b"new\nline",
        b"\\back",
        b"..x",
        "ümläut".as_bytes(),
    ];
    for (number, name) in names.iter().enumerate() {
        let name = if *name == b"..x" { b"x..x" } else { *name };
        fs::write(directory.join(OsStr::from_bytes(name)), number.to_string()).unwrap();
    }
    let list = server.request("GET", "/files/", "Accept: application/json\r\n", "");
    let list: serde_json::Value = serde_json::from_slice(&list.content).unwrap();
    let mut found = Vec::new();
    for entry in list.as_array().unwrap() {
        let href = entry["href"].as_str().unwrap();
        found.push(server.get(&format!("/files/{href}")).text());
        let page = server.get("/files/").text();
        assert!(page.contains(&format!("href=\"{href}\"")), "{href}: {page}");
    }
    found.sort();
    assert_eq!(found, ["", "0", "1", "2", "3", "4", "5", "6", "7", "8"]);
    let page = server.get("/files/").text();
    assert!(
        !page.contains("<b>") && page.contains("&lt;b&gt;&amp;&quot;&#39;.txt"),
        "{page}"
    );
}

#[test]
fn what_is_not_served_is_not_listed() {
    let server = site();
    let directory = server.site().root().join("files");
    fs::write(server.site().directory().join("secret"), "secret").unwrap();
    symlink("../../secret", directory.join("outside")).unwrap();
    symlink("loop", directory.join("loop")).unwrap();
    symlink("nowhere", directory.join("nowhere")).unwrap();
    symlink("b.txt", directory.join("inside")).unwrap();
    fs::write(directory.join(".hidden"), "").unwrap();
    fs::write(directory.join("old.bak"), "").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(directory.join("socket")).unwrap();
    assert_eq!(
        names(&server, "/files/"),
        ["sub%20dir/", "a.css", "b.txt", "c.txt", "inside"]
    );
}

#[test]
fn a_large_listing_is_bounded_and_compressed() {
    let server = Site::new().file("many/file-x", "").serve();
    let directory = server.site().root().join("many");
    for number in 0..10_050 {
        fs::write(directory.join(format!("file-{number:05}")), "").unwrap();
    }
    let page = server.get("/many/").text();
    assert_eq!(page.matches("file-").count(), 20_000, "{}", page.len());
    assert!(page.contains("Only 10000 names are shown."));
    let coded = server.request("GET", "/many/", "Accept-Encoding: gzip\r\n", "");
    assert_eq!(coded.field("content-encoding"), Some("gzip"));
    assert!(coded.content.len() < page.len() / 5);
    let head = server.request("HEAD", "/many/", "", "");
    assert_eq!(head.field("content-length"), Some(&*page.len().to_string()));
}
