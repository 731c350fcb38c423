//! Tokens: golden text, each refusal, mutations.

use super::*;
use crate::trust::token::{Token, TokenError};
use crate::units::Seeded;

pub(super) fn token() -> Token {
    Token {
        mesh: mesh(),
        root: root().id(),
        enroller: key(1).id(),
        enroller_curve: curve(1),
        doors: vec!["10.0.0.1:7404".into(), "[fe80::1]:7404".into()],
        role: Role::Agent,
        place: place(),
        name: Some(label("a")),
        caps: vec![label("memory:write")],
        expires_s: 2_000_000_000,
        uses: 1,
        nonce: [7; 16],
    }
}
fn text() -> String {
    token().to_text(&key(1)).expect("a sound token")
}
fn refused(text: &str) -> TokenError {
    Token::parse(text).map(|_| ()).unwrap_err()
}

#[test]
fn golden_text_of_a_token() {
    assert_eq!(text(), GOLDEN);
    assert_eq!(Token::parse(GOLDEN), Ok(token()));
    assert_eq!(
        Token::parse(&format!("  {}\n{}\r\n", &GOLDEN[..70], &GOLDEN[70..])),
        Ok(token())
    );
}

/// [`token`] by seed 1, in a mesh whose root is seed 0.
const GOLDEN: &str = "\
    chorus1.Pj9n7Egrrrou4Bb_htrCuZAjlgJtNQpMJiZRtFlYvSzTZppll-KFdziD5ohbTia43rp0KOvu\
    hoFMTX53Ed93BYykbWVzaMQgE545QOZLVJFyIIjZoNdBYo_IJuCUddNBp4Cs3jxLgHCkcm9vdMQgO2on\
    vM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2imoZW5yb2xsZXLEIIqI4910CfGV_VLbLTy6XXLKZwm_\
    HZQSG_N0iAG0D29crmVucm9sbGVyX2N1cnZlxCABAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\
    AaVkb29yc5KtMTAuMC4wLjE6NzQwNK5bZmU4MDo6MV06NzQwNKRyb2xlpWFnZW50pXBsYWNlgqZzZWN0\
    b3KiczGnY2x1c3RlcqJjMaRuYW1loWGkY2Fwc5GsbWVtb3J5OndyaXRlqWV4cGlyZXNfc853NZQApHVz\
    ZXMBpW5vbmNlxBAHBwcHBwcHBwcHBwcHBwcH";

#[test]
fn each_refusal_says_what_is_wrong_with_the_text() {
    assert_eq!(refused("hello"), TokenError::NotAToken);
    assert_eq!(refused("chorus"), TokenError::NotAToken);
    assert_eq!(refused("chorusx.abc"), TokenError::NotAToken);
    assert_eq!(
        refused(&text().replace("chorus1", "chorus2")),
        TokenError::Version(2)
    );
    assert_eq!(refused("chorus1.ab$d"), TokenError::Character(2));
    assert_eq!(refused("chorus1."), TokenError::Truncated);
    assert_eq!(
        refused(&format!("chorus1.{}", "a".repeat(5_000))),
        TokenError::Oversized
    );
    for cut in 9..text().len() {
        assert_eq!(
            refused(&text()[..cut]),
            TokenError::Truncated,
            "cut at {cut}"
        );
    }
    let mut other = text().into_bytes();
    other[20] = if other[20] == b'A' { b'B' } else { b'A' };
    assert_eq!(
        refused(&String::from_utf8_lossy(&other)),
        TokenError::Altered
    );
}

#[test]
fn what_a_token_says_has_bounds() {
    let fault = |change: fn(&mut Token)| {
        let mut it = token();
        change(&mut it);
        it.seal(&key(1)).unwrap_err()
    };
    assert_eq!(fault(|it| it.root = key(9).id()), TokenError::WrongRoot);
    assert_eq!(fault(|it| it.root = WEAK), TokenError::WeakKey);
    assert_eq!(
        fault(|it| it.enroller = key(2).id()),
        TokenError::Bounds("enroller")
    );
    assert_eq!(fault(|it| it.uses = 0), TokenError::Bounds("uses"));
    assert_eq!(fault(|it| it.uses = 10_001), TokenError::Bounds("uses"));
    assert_eq!(fault(|it| it.doors = vec![]), TokenError::Bounds("doors"));
    for door in ["nowhere", ":1", "a:0", "a:65536", "a b:1"] {
        let it = Token {
            doors: vec![door.into()],
            ..token()
        };
        assert_eq!(it.seal(&key(1)), Err(TokenError::Bounds("doors")), "{door}");
    }
    let long = Token {
        name: Some(label(&"x".repeat(23))),
        uses: 2,
        ..token()
    };
    assert_eq!(long.seal(&key(1)), Err(TokenError::Bounds("name")));
    let fat = Token {
        doors: vec![format!("{}:1", "x".repeat(250)); 8],
        ..token()
    };
    assert_eq!(fat.seal(&key(1)), Err(TokenError::Oversized));
}

#[test]
fn a_token_signed_by_a_weak_or_another_key_is_refused() {
    let bytes = token().seal(&key(1)).expect("a sound token");
    let at = bytes
        .windows(32)
        .position(|it| it == key(1).id().as_bytes())
        .expect("the enroller");
    let with = |id: NodeId| [&bytes[..at], id.as_bytes().as_slice(), &bytes[at + 32..]].concat();
    assert_eq!(Token::open(&with(WEAK)), Err(TokenError::WeakKey));
    assert_eq!(Token::open(&with(key(2).id())), Err(TokenError::Altered));
}

#[test]
fn mutations_are_refused_and_never_panic() {
    let mut noise = Seeded::new(8);
    let (good, text) = (token().seal(&key(1)).expect("a sound token"), text());
    for round in 0..5_000 {
        let bytes = mutated(&good, &mut noise);
        assert_eq!(
            Token::open(&bytes).is_ok(),
            bytes == good,
            "mutation {round}: {bytes:02x?}"
        );
        let bytes = mutated(text.as_bytes(), &mut noise);
        let altered = String::from_utf8_lossy(&bytes);
        let same = altered.split_whitespace().collect::<String>() == text;
        assert_eq!(
            Token::parse(&altered).is_ok(),
            same,
            "mutation {round}: {altered}"
        );
    }
}
