//! The welcome site of the repository, as `cargo run --release` serves it.

use crate::support::Server;

fn welcome() -> Server {
    let www = concat!(env!("CARGO_MANIFEST_DIR"), "/www");
    Server::start(&["serve", www, "--cgi", "--listen", "127.0.0.1:0"])
}

#[test]
fn the_page_has_its_picture_and_its_form() {
    let server = welcome();
    let page = server.get("/");
    assert_eq!(page.status(), 200);
    assert!(page.text().contains("test.jpg"));
    assert!(page.text().contains("cgi-bin/post.py"));
    let picture = server.get("/test.jpg");
    assert_eq!(picture.field("content-type"), Some("image/jpeg"));
    assert!(picture.content.starts_with(&[0xff, 0xd8, 0xff]));
}

#[test]
fn the_form_is_answered_with_the_value_escaped() {
    let server = welcome();
    let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
    let content = "firstname=Zo%C3%AB+%3Cb%3E%26";
    let response = server.request("POST", "/cgi-bin/post.py", fields, content);
    assert_eq!(response.status(), 200, "{}", response.text());
    assert!(
        response.text().contains("Zoë &lt;b&gt;&amp;"),
        "{}",
        response.text()
    );
}

#[test]
fn the_scripts_answer() {
    let server = welcome();
    for path in ["/cgi-bin/time.py", "/cgi-bin/env.sh"] {
        let response = server.get(path);
        assert_eq!(response.status(), 200, "{path}: {}", response.text());
    }
    let environment = server.get("/cgi-bin/env.sh").text();
    assert!(
        environment.contains("GATEWAY_INTERFACE=CGI/1.1"),
        "{environment}"
    );
}
