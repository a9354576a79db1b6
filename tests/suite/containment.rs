//! What lies outside of the root, or is no file, stays out of reach: each way has its status.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
};

use crate::support::{Server, Site};

/// A site with a secret beside its root, and a file of its own.
fn site() -> Server {
    let site = Site::new().file("a.txt", "inside").file("d/b.txt", "below");
    fs::write(site.directory().join("secret"), "secret").unwrap();
    fs::create_dir(site.directory().join("root-2")).unwrap();
    fs::write(site.directory().join("root-2/secret"), "secret").unwrap();
    site.serve()
}

#[test]
fn no_spelling_of_a_path_leads_out() {
    let server = site();
    for (target, status) in [
        // Dot segments before and after decoding.
        ("/../secret", 400),
        ("/d/../../secret", 400),
        ("/d/../a.txt", 400),
        ("/./a.txt", 400),
        ("/d/..", 400),
        ("/d/.", 400),
        ("/..", 400),
        ("/%2e%2e/secret", 400),
        ("/%2E./secret", 400),
        ("/.%2e/secret", 400),
        ("/d/%2e%2e/%2e%2e/secret", 400),
        ("/%2e/a.txt", 400),
        // Encoded slashes, and decoding twice.
        ("/..%2fsecret", 400),
        ("/d%2fb.txt", 400),
        ("/%2fetc/passwd", 400),
        ("/%252e%252e/secret", 404),
        ("/..%252fsecret", 404),
        ("/%25%32%65%25%32%65/secret", 404),
        // A backslash is a byte like any other.
        ("/..%5csecret", 404),
        ("/%5c..%5csecret", 404),
        ("/d\\..\\..\\secret", 404),
        // UTF-8 that is longer than it may be stands for no dot and no slash.
        ("/%c0%ae%c0%ae/secret", 404),
        ("/%c0%af..%c0%afsecret", 404),
        ("/%e0%80%ae%e0%80%ae/secret", 404),
        ("/%ef%bc%8e%ef%bc%8e/secret", 404),
        // NUL, and percent signs that encode nothing.
        ("/a.txt%00", 400),
        ("/%00", 400),
        ("/a.txt%00.png", 400),
        ("/%", 400),
        ("/%2", 400),
        ("/%zz", 400),
        ("/%u002e%u002e/secret", 400),
        // Other roots, other names.
        ("//etc/passwd", 404),
        ("///secret", 404),
        ("/root-2/secret", 404),
        ("/a.txt/", 404),
        ("/a.txt/../a.txt", 400),
        ("/a.txt;/../../secret", 400),
        ("/...", 404),
        ("/..;/secret", 404),
        ("/file:///etc/passwd", 404),
    ] {
        let response = server.get(target);
        assert_eq!(response.status(), status, "{target}");
        assert!(
            !response.text().contains("secret\n") && response.text() != "secret",
            "{target}"
        );
    }
    assert_eq!(server.get("//d///b.txt").text(), "below");
}

#[test]
fn long_names_are_not_found() {
    let server = site();
    let name = "x".repeat(300);
    assert_eq!(server.get(&format!("/{name}")).status(), 404);
    let deep = "d/".repeat(3000);
    assert_eq!(server.get(&format!("/{deep}")).status(), 404);
}

#[test]
fn names_that_are_never_served_are_not_found() {
    let server = Site::new()
        .file(".env", "x")
        .file(".git/config", "x")
        .file("d/.htpasswd", "x")
        .file("page.html~", "x")
        .file("page.html.bak", "x")
        .file(".page.html.swp", "x")
        .file("page.html.orig", "x")
        .file(".well-known/security.txt", "contact")
        .serve();
    for target in [
        "/.env",
        "/.git/config",
        "/.git/",
        "/d/.htpasswd",
        "/page.html~",
        "/page.html.bak",
        "/.page.html.swp",
        "/page.html.orig",
        "/%2eenv",
        "/d/%2ehtpasswd",
    ] {
        assert_eq!(server.get(target).status(), 404, "{target}");
    }
    assert_eq!(server.get("/.well-known/security.txt").text(), "contact");
}

#[test]
fn links_are_followed_inside_the_root_and_nowhere_else() {
    let server = site();
    let root = server.site().root();
    for (name, target) in [
        ("up", "../secret"),
        ("absolute", "/etc/passwd"),
        ("parent", ".."),
        ("d/far", "../../secret"),
        ("sibling", "../root-2"),
        ("loop", "loop"),
        ("one", "two"),
        ("two", "one"),
        ("proc", "/proc/self/root"),
        ("null", "/dev/null"),
        ("inside", "d/b.txt"),
        ("d/back", "../a.txt"),
        ("folder", "d"),
        ("nowhere", "nothing"),
        ("absent", "/no/such/place"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    for (target, status) in [
        ("/up", 403),
        ("/absolute", 403),
        ("/parent/secret", 403),
        ("/parent/root-2/secret", 403),
        ("/d/far", 403),
        ("/sibling/secret", 403),
        ("/loop", 403),
        ("/one", 403),
        ("/proc/etc/passwd", 403),
        ("/null", 403),
        ("/inside", 200),
        ("/d/back", 200),
        ("/folder/b.txt", 200),
        ("/nowhere", 404),
        ("/absent", 404),
        ("/sibling/nothing", 403),
    ] {
        let response = server.get(target);
        assert_eq!(response.status(), status, "{target}");
        assert_ne!(response.text(), "secret", "{target}");
    }
}

#[test]
fn an_absolute_link_to_a_place_in_the_root_is_followed() {
    let server = site();
    let root = server.site().root();
    symlink(root.join("d"), root.join("current")).unwrap();
    symlink(root.join("a.txt"), root.join("d/absolute")).unwrap();
    symlink(root.join("../secret"), root.join("d/tricky")).unwrap();
    assert_eq!(server.get("/current/b.txt").text(), "below");
    assert_eq!(server.get("/d/absolute").text(), "inside");
    assert_eq!(server.get("/current/absolute").text(), "inside");
    assert_eq!(server.get("/current/nothing").status(), 404);
    assert_eq!(server.get("/d/tricky").status(), 403);
}

#[test]
fn follow_opens_named_places_and_no_others() {
    let site = Site::new().file("a.txt", "inside");
    let directory = site.directory().to_owned();
    for name in ["shared", "shared-not", "other"] {
        fs::create_dir(directory.join(name)).unwrap();
        fs::write(directory.join(name).join("x.txt"), name).unwrap();
    }
    fs::create_dir(directory.join("shared/sub")).unwrap();
    fs::write(directory.join("shared/sub/index.html"), "index").unwrap();
    symlink("../../other", directory.join("shared/sub/out")).unwrap();
    symlink("../x.txt", directory.join("shared/sub/within")).unwrap();
    symlink("/dev/zero", directory.join("shared/zero")).unwrap();
    let root = site.root();
    symlink("../shared", root.join("shared")).unwrap();
    symlink(directory.join("shared/x.txt"), root.join("direct.txt")).unwrap();
    symlink("../shared-not", root.join("not")).unwrap();
    symlink("../other/x.txt", root.join("other.txt")).unwrap();
    let server = site.configured(
        "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\nfollow = [\"shared\"]\nlisting = true\n",
    );
    for (target, status, content) in [
        ("/a.txt", 200, "inside"),
        ("/shared/x.txt", 200, "shared"),
        ("/direct.txt", 200, "shared"),
        ("/shared/sub/", 200, "index"),
        ("/shared/sub/within", 200, "shared"),
        ("/shared/sub/out/x.txt", 403, ""),
        ("/shared/zero", 403, ""),
        ("/not/x.txt", 403, ""),
        ("/other.txt", 403, ""),
        ("/shared/nothing", 404, ""),
    ] {
        let response = server.get(target);
        assert_eq!(response.status(), status, "{target}");
        if status == 200 {
            assert_eq!(response.text(), content, "{target}");
        }
    }
    assert!(server.get("/shared/").text().contains("x.txt"));
    fs::remove_file(directory.join("shared/x.txt")).unwrap();
    assert_eq!(server.get("/direct.txt").status(), 404);
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let server = site();
    let root = server.site().root();
    let (kind, mode) = (
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
    );
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), kind, mode, 0).unwrap();
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    let mut targets = vec!["/fifo", "/socket"];
    // /dev/zero, which only root can make.
    let (kind, device) = (
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::makedev(1, 5),
    );
    if rustix::fs::mknodat(rustix::fs::CWD, root.join("zero"), kind, mode, device).is_ok() {
        targets.push("/zero");
    }
    for target in targets {
        for method in ["GET", "HEAD"] {
            assert_eq!(
                server.request(method, target, "", "").status(),
                403,
                "{target}"
            );
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    let site = Site::new()
        .file("a.txt", "inside")
        .file("d/b.txt", "below")
        .file("c.txt", "open");
    let root = site.root();
    let allow = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(&root.join("a.txt"), 0o000);
    allow(&root.join("d"), 0o000);
    let server = site.serve_as_nobody();
    assert_eq!(server.get("/c.txt").text(), "open");
    for target in ["/a.txt", "/d/b.txt", "/d/"] {
        assert_eq!(server.get(target).status(), 403, "{target}");
    }
    allow(&root.join("d"), 0o755);
    assert_eq!(server.get("/d/b.txt").text(), "below");
}

#[test]
fn names_that_are_no_text_are_served_when_they_exist() {
    let server = site();
    let root = server.site().root();
    for (name, target) in [
        (&b"\xff\xfe"[..], "/%ff%fe"),
        (b"\xc0\xae", "/%c0%ae"),
        (b"a\\b", "/a%5Cb"),
        (b"a%2fb", "/a%252fb"),
        (b"?#", "/%3f%23"),
        (b" ", "/%20"),
    ] {
        fs::write(root.join(OsStr::from_bytes(name)), "odd").unwrap();
        assert_eq!(server.get(target).text(), "odd", "{target}");
    }
}

#[test]
fn files_that_come_and_go_are_found_or_not_and_nothing_else() {
    let server = site();
    let path = server.site().root().join("flicker");
    std::thread::scope(|scope| {
        let flicker = scope.spawn(|| {
            for _ in 0..2000 {
                fs::write(&path, "here").unwrap();
                fs::remove_file(&path).unwrap();
                symlink("../secret", &path).unwrap();
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
                fs::remove_dir(&path).unwrap();
            }
        });
        while !flicker.is_finished() {
            let response = server.get("/flicker");
            assert_ne!(response.text(), "secret");
            assert!(
                [200, 301, 403, 404].contains(&response.status()),
                "{}",
                response.status()
            );
        }
    });
}
