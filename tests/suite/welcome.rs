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
fn its_shell_script_tells_the_environment() {
    let response = welcome().get("/cgi-bin/env.sh");
    assert_eq!(response.status(), 200, "{}", response.text());
    assert!(response.text().contains("GATEWAY_INTERFACE=CGI/1.1"));
}
