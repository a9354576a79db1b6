//! Users, hashes and what clients send, by tables.

use proptest::prelude::*;

use super::*;

/// All but the first are of the password `secret`; made with `openssl passwd` and `crypt(3)`.
const MD5_1: &str = "$1$xyz$CRBEVl3Y6k24fEyYj4Lqm.";
const LONG: &str = "pass word long enough to be more than sixteen";
const APR1: &str = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";
const SHA512: &str = "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";
const SHA512_ROUNDS: &str = "$6$rounds=1000$JfofDnCPF7Eid4nl$/.D.QT9kL1S/5W2PL2CEaY5OJwqulUcBU4LRxC905VEafuw3k02237hPilPEtWxierdY49Wxvum9nq2KC8qbb0";
const SHA256: &str = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";
const BCRYPT: &str = "$2b$04$pVhEpzP74YVLoHPJ424JquqF2./2yVjTflY8n1ed.xuQ22DHmZeyS";

fn pair(user: &str, password: &str) -> Credentials {
    Credentials {
        user: user.as_bytes().into(),
        password: password.as_bytes().into(),
    }
}

fn reasons(text: &str, weak: bool) -> Vec<String> {
    let malformed = Passwords::parse(text.as_bytes(), weak)
        .err()
        .unwrap_or_default();
    malformed
        .into_iter()
        .map(|m| format!("{}: {}", m.line, m.reason))
        .collect()
}

#[test]
fn every_kind_of_hash_is_understood() {
    for (hash, password, weak) in [
        (BCRYPT, "secret", false),
        (&BCRYPT.replace("$2b$", "$2y$"), "secret", false),
        (SHA512, "secret", false),
        (SHA512_ROUNDS, "secret", false),
        (SHA256, "secret", false),
        (APR1, "secret", true),
        (MD5_1, LONG, true),
        ("{PLAIN}secret", "secret", true),
    ] {
        let text = format!("# users\n\nalice:{hash}\r\nbob:{BCRYPT}:Bob\n");
        let passwords = Passwords::parse(text.as_bytes(), weak).unwrap();
        let right = pair("alice", password);
        assert!(!passwords.remembers(&right), "{hash}");
        assert!(passwords.verify(&right), "{hash}");
        assert!(passwords.remembers(&right), "{hash}");
        assert!(passwords.verify(&pair("bob", "secret")), "{hash}");
        for wrong in [
            pair("alice", "Secret"),
            pair("alice", ""),
            pair("alice", "secre"),
            pair("Alice", password),
            pair("carol", password),
            pair("", ""),
            pair("alice", &"x".repeat(100_000)),
        ] {
            assert!(!passwords.verify(&wrong), "{hash} {:?}", wrong.user);
            assert!(!passwords.remembers(&wrong), "{hash}");
        }
        assert!(
            passwords.remembers(&right),
            "a wrong pair does not take its place"
        );
    }
}

#[test]
fn what_does_not_protect_a_password_needs_a_word() {
    for hash in [APR1, MD5_1, "{PLAIN}secret"] {
        let found = reasons(&format!("alice:{hash}"), false);
        assert!(found[0].contains("weak = true"), "{found:?}");
        assert!(reasons(&format!("alice:{hash}"), true).is_empty());
    }
}

#[test]
fn a_malformed_line_is_named_and_tells_no_secret() {
    for (line, expected) in [
        ("alice", "no colon"),
        (":x", "no user"),
        ("alice:rqXexS6ZhobKA", "neither bcrypt nor SHA-crypt"),
        ("alice:secret", "neither bcrypt nor SHA-crypt"),
        ("alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1"),
        ("alice:$2y$05$short", "incomplete"),
        (
            "alice:$2y$99$pVhEpzP74YVLoHPJ424JquqF2./2yVjTflY8n1ed.xuQ22DHmZeyS",
            "the most",
        ),
        ("alice:$6$salt$short", "incomplete"),
        ("alice:$apr1$abcdefgh$short", "incomplete"),
        (
            "alice:$6$rounds=999999999$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
            "rounds",
        ),
    ] {
        let found = reasons(&format!("\n{line}\n"), true);
        assert_eq!(found.len(), 1, "{line}");
        assert!(
            found[0].starts_with("2: ") && found[0].contains(expected),
            "{found:?}"
        );
        assert!(
            !found[0].contains("secret") && !found[0].contains("rqXexS6ZhobKA"),
            "{found:?}"
        );
    }
    let twice = reasons(&format!("alice:{BCRYPT}\nalice:{BCRYPT}"), false);
    assert_eq!(twice, ["2: the user stands twice"]);
}

#[test]
fn what_is_printed_has_no_secret() {
    let passwords = Passwords::parse(format!("alice:{BCRYPT}").as_bytes(), false).unwrap();
    let printed = format!("{passwords:?} {:?}", pair("alice", "secret"));
    assert!(
        !printed.contains("secret") && !printed.contains("alice"),
        "{printed}"
    );
}

#[test]
fn credentials_are_what_a_client_encodes() {
    for (value, expected) in [
        (
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            Some(("Aladdin", "open sesame")),
        ),
        ("basic   YTpi", Some(("a", "b"))),
        ("BASIC YTpiOmM=", Some(("a", "b:c"))),
        ("Basic YTo", Some(("a", ""))),
        ("Basic Og==", Some(("", ""))),
        ("Basic dGVzdDoxMjPCow==", Some(("test", "123\u{a3}"))),
        ("Basic YQ==", None),
        ("Basic", None),
        ("Basic YTpi!", None),
        ("Basic YTpiY", None),
        ("Bearer YTpi", None),
        ("Basic YTpiAGI=", None),
        ("Basic YQo6Yg==", None),
        ("", None),
    ] {
        let found = Credentials::parse(value.as_bytes());
        let found = found.map(|c| (c.user.to_vec(), c.password.to_vec()));
        let expected = expected.map(|(u, p)| (u.as_bytes().to_vec(), p.as_bytes().to_vec()));
        assert_eq!(found, expected, "{value}");
    }
}

proptest! {
    #[test]
    fn no_file_and_no_field_makes_it_panic(text: Vec<u8>, value: Vec<u8>) {
        let _ = Passwords::parse(&text, true);
        let _ = Credentials::parse(&value);
        let _ = Credentials::parse(&[b"Basic ", &value[..]].concat());
    }
}
