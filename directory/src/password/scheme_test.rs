use super::*;

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// Made by `slappasswd` (OpenLDAP 2.5), `openssl passwd`, `mkpasswd` (libxcrypt) and Python's hashlib.
const GEHEIM: &[&str] = &[
    "{SSHA}mCEP3f+83lMHBMtcDFsVxqDHCUe9k99T",
    "{SHA}hB9TCHdk5+clwWS0z1CS+haXw38=",
    "{SMD5}RdG9WmUKZcQizCDQ0YQQX7Kipao=",
    "{MD5}Jb7jbbgiGHrYGj0DFUoSQg==",
    "{SSHA512}SKvTPF29JFJbKpcItqRkFWl+n+ENIAV9sRDeT5wVfnNwHu4E9TToKkY1riO7d3wD6VU2xLt+K+D+Uusa8+Ww5j9BYad8/dy5",
    "{SSHA256}GBJRRFPfp10PJAQj/SJKzF24AWQn581RQm3IRDhCzt+TMdGTMgK6sQ==",
    "{SSHA384}wjCKedQxeBAg69wrqkze8fSYqj1RWY6QLkFYusw1PkjuaVC9v+jotK3PBMm+LzSvYA5cb98r048=",
    "{SHA256}OTUgA4ehGKnFd/vd7CtENM5j44c365dpVQxdOb5crAg=",
    "{SHA512}WSM0i6t20W4mzYI1Zg9Gp8Ea2Berctga2eu36bOX1sf0qlAhOaqO57brybBhyDVZj3eAzdaIua0nehD8A0FMFQ==",
    "{ARGON2}$argon2i$v=19$m=4096,t=3,p=1$6tGIHlEQe9e0++jO75+l1Q$USdi6G5DncHeM7Yzl5qL9Sl4AxCuLg7SsWIYXkfzdD4",
    "{CRYPT}$5$30IRJyhm45ZNYgnw$msGSsP2HwIV/KEohyhl638UWFgOoccvDET8zxPAZbQ7",
    "{CRYPT}$6$Le7d6YCqPMUWLAF/$tlEjYSGUGlFtH8x6mCp.cCZiotIFWOfKvuNyeEtm/Mz3zFDN1kWvvEZ6uRN1Ngf2KofaxZParqKTHMU3wya0R0",
    "{CRYPT}$y$j9T$J6RknPa06elSVJiiHxkiI/$Q3ylciXZVC4kQadVCn2hhEZchEkzvIVwaYj2LLTH2D9",
    "{CRYPT}$2b$05$9ArZdVs/gfVN0C2648aBQO2ONI6jiAqiT6HKUS.sV9C6a5Xx3MRou",
    "{CRYPT}$2a$05$v5YAovPaRH2cha9xZ74bQeEqTBsosS9O7SBn7YhSAJy800p0vCb2W",
    "{SCRAM-SHA-256}4096,MDEyMzQ1Njc4OWFiY2RlZg==,p8dPPr4lcV2TOXM7lWGQZtWlMiTzgzxYJQsIl9qrEF4=,4D41x03xr4mke8qUnMBW8/aE7fkCHiSzfaGkk/0+MPk=",
    "{CLEARTEXT}geheim Ä",
];

#[test]
fn hashes_made_by_other_programs_verify() {
    for stored in GEHEIM {
        assert!(verify(stored, &secret("geheim Ä")), "{stored}");
        assert!(!verify(stored, &secret("geheim A")), "{stored}");
        assert!(!verify(stored, &secret("")), "{stored}");
    }
}

#[test]
fn without_a_scheme_it_is_the_password_or_what_crypt_made_of_it() {
    assert!(verify("geheim Ä", &secret("geheim Ä")) && !verify("geheim Ä", &secret("geheim")));
    assert!(verify("{}x", &secret("{}x")) && !verify("{}x", &secret("x")));
    let crypted =
        "$6$Le7d6YCqPMUWLAF/$tlEjYSGUGlFtH8x6mCp.cCZiotIFWOfKvuNyeEtm/Mz3zFDN1kWvvEZ6uRN1Ngf2KofaxZParqKTHMU3wya0R0";
    assert!(verify(crypted, &secret("geheim Ä")));
    // Who has stolen the hash has not got the password.
    assert!(!verify(crypted, &secret(crypted)));
}

#[test]
fn schemes_are_read_in_any_case() {
    assert!(verify("{ssha}mCEP3f+83lMHBMtcDFsVxqDHCUe9k99T", &secret("geheim Ä")));
}

#[test]
fn the_scram_example_of_rfc_7677_verifies() {
    let stored = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    assert!(verify(stored, &secret("pencil")));
    assert!(!verify(stored, &secret("pen")));
}

/// Derived with Python: `hashlib.pbkdf2_hmac("sha256", b"password", b"0123456789abcdef", 10000)`.
#[test]
fn pbkdf2_is_read_in_the_base64_of_passlib() {
    let salt = BASE64.encode(b"0123456789abcdef").replace('+', ".").replace('=', "");
    let mut key = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(b"password", b"0123456789abcdef", 10_000, &mut key);
    let key = BASE64.encode(key).replace('+', ".").replace('=', "");
    assert_eq!(key, "0YdT6cDcX5qiDagy0ie.FrM2RN8V8MC0buKrDrj.aAU");
    assert!(verify(&format!("{{PBKDF2-SHA256}}10000${salt}${key}"), &secret("password")));
    assert!(!verify(&format!("{{PBKDF2-SHA256}}10001${salt}${key}"), &secret("password")));
}

#[test]
fn a_new_hash_verifies_and_is_salted() {
    let (a, b) =
        (hash_password(&secret("x"), PasswordScheme::Argon2), hash_password(&secret("x"), PasswordScheme::Argon2));
    assert!(a.starts_with("{ARGON2}$argon2id$v=19$m=4096,t=3,p=1$"), "{a}");
    assert_ne!(a, b);
    assert!(verify(&a, &secret("x")) && !verify(&a, &secret("y")));
    assert!(has_scheme(a.as_bytes()));
}

#[test]
fn what_is_malformed_or_dear_verifies_nothing() {
    let bad = [
        "",
        "$",
        "$1$a$b",
        "{",
        "{}",
        "{SSHA}",
        "{SSHA}!!",
        "{SHA}aGk=",
        "{NOPE}x",
        "{CRYPT}x",
        "{CRYPT}$1$a$b",
        "{CRYPT}$6$",
        "{CRYPT}$6$a",
        "{CRYPT}$y$",
        "{CRYPT}$y$j9T$",
        "{CRYPT}$2b$05$",
        "{CRYPT}$2b$99$aaaaaaaaaaaaaaaaaaaaaa",
        "{ARGON2}$argon2id$v=19$m=4294967295,t=3,p=1$6tGIHlEQe9e0++jO75+l1Q$USdi6G5DncHeM7Yzl5qL9Sl4AxCuLg7SsWIYXkfzdD4",
        "{ARGON2}",
        "{PBKDF2-SHA256}0$aaaa$aaaa",
        "{PBKDF2-SHA256}4294967295$aaaa$0YdT6cDcX5qiDagy0ie.FrM2RN8V8MC0buKrDrj.aAU",
        "{SCRAM-SHA-256}0,YQ==,YQ==,YQ==",
        "{SCRAM-SHA-256}4096,YQ==",
        "{CRYPT}é",
    ];
    for stored in bad {
        assert!(!verify(stored, &secret("x")), "{stored}");
    }
    assert!(!has_scheme(b"secret"));
    assert!(!has_scheme(b"{no scheme}"));
}
