//! Cipher lists in OpenSSL's words (openssl-ciphers(1)), over the suites that rustls has.

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite as suite;

struct Cipher {
    /// Its name in OpenSSL, and in the standards.
    names: [&'static str; 2],
    suite: SupportedCipherSuite,
    /// The words that stand for it and others, beside those that stand for every cipher of its version.
    classes: &'static [&'static str],
    bits: u16,
}

/// Words for all ciphers of TLS 1.2 here: all of them are forward secret, authenticated and strong.
const EVERY: &[&str] = &["ALL", "HIGH", "DEFAULT", "ECDHE", "EECDH", "kECDHE", "kEECDH", "ECDH", "TLSv1.2"];

/// Those of TLS 1.2, the preferred ones first.
static TLS12: [Cipher; 6] = [
    Cipher {
        names: ["ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
        suite: suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        classes: &["aECDSA", "ECDSA", "AES", "AES256", "AESGCM", "FIPS"],
        bits: 256,
    },
    Cipher {
        names: ["ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
        suite: suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        classes: &["aRSA", "AES", "AES256", "AESGCM", "FIPS"],
        bits: 256,
    },
    Cipher {
        names: ["ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"],
        suite: suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        classes: &["aECDSA", "ECDSA", "CHACHA20"],
        bits: 256,
    },
    Cipher {
        names: ["ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"],
        suite: suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        classes: &["aRSA", "CHACHA20"],
        bits: 256,
    },
    Cipher {
        names: ["ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
        suite: suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        classes: &["aECDSA", "ECDSA", "AES", "AES128", "AESGCM", "FIPS"],
        bits: 128,
    },
    Cipher {
        names: ["ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
        suite: suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        classes: &["aRSA", "AES", "AES128", "AESGCM", "FIPS"],
        bits: 128,
    },
];

/// Those of TLS 1.3. No class stands for them, in OpenSSL neither.
static TLS13: [(&str, SupportedCipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", suite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
];

/// Words of OpenSSL that stand for ciphers none of which is here: there is nothing to exclude, and nothing to include.
const ABSENT: &[&str] = &[
    "COMPLEMENTOFALL",
    "COMPLEMENTOFDEFAULT",
    "LOW",
    "MEDIUM",
    "EXP",
    "EXPORT",
    "eNULL",
    "NULL",
    "aNULL",
    "kRSA",
    "RSA",
    "kDHE",
    "kEDH",
    "DHE",
    "EDH",
    "DH",
    "ADH",
    "AECDH",
    "aDSS",
    "DSS",
    "AESCCM",
    "AESCCM8",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "ARIAGCM",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "3DES",
    "DES",
    "RC4",
    "RC2",
    "IDEA",
    "SEED",
    "MD5",
    "SHA",
    "SHA1",
    "SHA256",
    "SHA384",
    "GOST94",
    "GOST89MAC",
    "kGOST",
    "aGOST",
    "aGOST01",
    "PSK",
    "kPSK",
    "kECDHEPSK",
    "kDHEPSK",
    "kRSAPSK",
    "aPSK",
    "SRP",
    "kSRP",
    "aSRP",
    "SSLv3",
    "TLSv1",
    "TLSv1.0",
    "CBC",
];

/// What the names of OpenSSL's other ciphers are made of.
const PARTS: &[&str] = &[
    "ECDHE",
    "DHE",
    "EDH",
    "ADH",
    "AECDH",
    "ECDH",
    "DH",
    "RSA",
    "ECDSA",
    "DSS",
    "PSK",
    "SRP",
    "AES128",
    "AES256",
    "GCM",
    "CCM",
    "CCM8",
    "CBC",
    "CBC3",
    "CHACHA20",
    "POLY1305",
    "CAMELLIA128",
    "CAMELLIA256",
    "ARIA128",
    "ARIA256",
    "SEED",
    "IDEA",
    "RC4",
    "RC2",
    "DES",
    "3DES",
    "NULL",
    "MD5",
    "SHA",
    "SHA256",
    "SHA384",
    "EXP",
    "AES",
    "128",
    "256",
];

/// The name of a suite in OpenSSL.
pub(super) fn name(suite: SupportedCipherSuite) -> Option<&'static str> {
    let tls12 = TLS12.iter().map(|cipher| (cipher.names[0], cipher.suite));
    tls12.chain(TLS13).find(|(_, candidate)| *candidate == suite).map(|(name, _)| name)
}

/// The suites that a list allows, the preferred ones first.
///
/// # Errors
///
/// Which word of it cannot be honoured.
pub(super) fn select(list: &str) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut chosen: Vec<&Cipher> = Vec::new();
    let mut banned: Vec<&str> = Vec::new();
    let mut tls13: Vec<&str> = Vec::new();
    let mut banned13: Vec<&str> = Vec::new();
    for term in list.split([':', ',', ';', ' ']).filter(|term| !term.is_empty()) {
        if let Some(command) = term.strip_prefix('@') {
            match command {
                "STRENGTH" => chosen.sort_by_key(|cipher| std::cmp::Reverse(cipher.bits)),
                // 112 bits of security, RSA of 2048 bits: nothing here is weaker.
                "SECLEVEL=0" | "SECLEVEL=1" | "SECLEVEL=2" => {}
                _ => return Err(format!("`{term}` cannot be honoured")),
            }
            continue;
        }
        let (sign, words) = match term.strip_prefix(['!', '-', '+']) {
            Some(words) => (term.as_bytes()[0], words),
            None => (b' ', term),
        };
        if let Some((name, _)) = TLS13.iter().find(|(name, _)| *name == words) {
            match sign {
                b' ' if !tls13.contains(name) => tls13.push(name),
                b' ' => {}
                b'+' => {
                    tls13.retain(|other| other != name);
                    tls13.push(name);
                }
                _ => {
                    tls13.retain(|other| other != name);
                    banned13.push(name);
                }
            }
            continue;
        }
        if let Some(unknown) = words.split('+').find(|word| !is_known(word)) {
            return Err(format!("`{unknown}` is no word of a cipher list"));
        }
        let fits = |cipher: &&Cipher| words.split('+').all(|word| cipher.is(word));
        match sign {
            b' ' => {
                let mut fitting = TLS12.iter().filter(fits).peekable();
                if fitting.peek().is_none() {
                    return Err(format!(
                        "`{term}` stands for no cipher that rustls has; those of TLS 1.2 are {}",
                        TLS12.each_ref().map(|cipher| cipher.names[0]).join(", ")
                    ));
                }
                let new = |cipher: &&Cipher| !banned.contains(&cipher.names[0]);
                for cipher in fitting.filter(new) {
                    if !chosen.iter().any(|other| other.names == cipher.names) {
                        chosen.push(cipher);
                    }
                }
            }
            b'+' => chosen.sort_by_key(|cipher| fits(cipher)),
            _ => {
                chosen.retain(|cipher| !fits(cipher));
                if sign == b'!' {
                    banned.extend(TLS12.iter().filter(fits).map(|cipher| cipher.names[0]));
                }
            }
        }
    }
    if chosen.is_empty() && tls13.is_empty() {
        return Err("no cipher is left".into());
    }
    // As in OpenSSL a list speaks of TLS 1.2, unless it names ciphers of 1.3.
    let of_list = |(name, _): &(&str, SupportedCipherSuite)| !banned13.contains(name);
    let mut suites: Vec<_> = match &tls13[..] {
        [] => TLS13.iter().filter(|cipher| of_list(cipher)).map(|(_, suite)| *suite).collect(),
        named => named
            .iter()
            .flat_map(|name| TLS13.iter().find(|cipher| cipher.0 == *name))
            .map(|(_, suite)| *suite)
            .collect(),
    };
    suites.extend(chosen.iter().map(|cipher| cipher.suite));
    Ok(suites)
}

impl Cipher {
    fn is(&self, word: &str) -> bool {
        self.names.contains(&word) || self.classes.contains(&word) || EVERY.contains(&word)
    }
}

/// Whether OpenSSL would know a word. It would not tell if it did not; here a slip of the pen is told.
fn is_known(word: &str) -> bool {
    TLS12.iter().any(|cipher| cipher.is(word))
        || ABSENT.contains(&word)
        || word.contains('-') && word.split('-').all(|part| PARTS.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<&'static str> {
        select(list).unwrap().into_iter().map(|suite| name(suite).unwrap()).collect()
    }

    /// Those of TLS 1.2.
    fn old(list: &str) -> Vec<&'static str> {
        names(list).into_iter().filter(|name| !name.starts_with("TLS_")).collect()
    }

    #[test]
    fn every_suite_of_rustls_has_its_names() {
        let all = rustls::crypto::ring::ALL_CIPHER_SUITES;
        assert_eq!(all.len(), TLS12.len() + TLS13.len());
        for suite in all {
            assert!(name(*suite).is_some(), "{suite:?}");
        }
        for cipher in &TLS12 {
            assert_eq!(old(cipher.names[0]), [cipher.names[0]]);
            assert_eq!(old(cipher.names[1]), [cipher.names[0]]);
            assert_eq!(format!("{:?}", cipher.suite.suite()), cipher.names[1]);
        }
    }

    #[test]
    fn a_list_is_read_as_openssl_reads_it() {
        let all: Vec<_> = TLS12.iter().map(|cipher| cipher.names[0]).collect();
        for word in
            ["DEFAULT", "HIGH", "ALL", "HIGH:!aNULL:!MD5:!RC4", "ECDHE+HIGH", "DEFAULT@STRENGTH", "DEFAULT:@SECLEVEL=2"]
        {
            if word == "DEFAULT@STRENGTH" {
                assert!(select(word).is_err(), "a command stands by itself");
            } else {
                assert_eq!(old(word), all, "{word}");
            }
        }
        assert_eq!(
            old("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"),
            ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(old("ECDHE-RSA-AES128-GCM-SHA256:HIGH:@STRENGTH").last(), Some(&"ECDHE-ECDSA-AES128-GCM-SHA256"));
        assert_eq!(old("aRSA+AESGCM"), ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(
            old("EECDH+CHACHA20 EECDH+CHACHA20"),
            ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"]
        );
        assert_eq!(old("HIGH:!AESGCM,-ECDSA"), ["ECDHE-RSA-CHACHA20-POLY1305"]);
        // What is banned does not come back; what is only removed does.
        assert_eq!(old("AES128:!aRSA:aRSA"), ["ECDHE-ECDSA-AES128-GCM-SHA256"]);
        assert_eq!(old("AES128:-aRSA:aRSA").len(), 4);
        assert_eq!(old("HIGH:+CHACHA20")[4..], ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"]);
        // The digest of these words is that of CBC ciphers, so nothing here is meant.
        assert_eq!(old("HIGH:!SHA384:!SHA256"), all);
        assert_eq!(old("HIGH:!ECDHE-RSA-AES256-SHA:!DES-CBC3-SHA:!DHE-RSA-AES128-GCM-SHA256"), all);
    }

    #[test]
    fn ciphers_of_tls_13_are_named_one_by_one() {
        assert_eq!(
            names("HIGH")[..3],
            ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]
        );
        assert_eq!(names("TLS_AES_128_GCM_SHA256"), ["TLS_AES_128_GCM_SHA256"], "and TLS 1.2 is off");
        assert_eq!(names("TLS_AES_128_GCM_SHA256:ECDHE-RSA-AES128-GCM-SHA256").len(), 2);
        assert_eq!(names("AES128:!TLS_CHACHA20_POLY1305_SHA256").len(), 4);
        assert_eq!(
            names("TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:+TLS_AES_128_GCM_SHA256")[1],
            "TLS_AES_128_GCM_SHA256"
        );
        let none = "AES128:!TLS_CHACHA20_POLY1305_SHA256:!TLS_AES_128_GCM_SHA256:!TLS_AES_256_GCM_SHA384";
        assert_eq!(names(none), old("AES128"), "and TLS 1.3 is off");
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name() {
        for (list, word) in [
            ("ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"),
            ("AES128-SHA", "AES128-SHA"),
            ("HIGH:kRSA", "kRSA"),
            ("RC4:HIGH", "RC4"),
            ("aNULL", "aNULL"),
            ("DHE+AESGCM", "DHE+AESGCM"),
            ("COMPLEMENTOFDEFAULT", "COMPLEMENTOFDEFAULT"),
            ("HIGH:!ECDHE-RSA-AES128-GCM-SHA257", "SHA257"),
            ("HIHG", "HIHG"),
            ("HIGH:!aNUL", "aNUL"),
            ("HIGH:@SECLEVEL=3", "SECLEVEL=3"),
            ("HIGH:TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_SHA256"),
            ("HIGH:!ECDHE", "no cipher is left"),
            ("", "no cipher is left"),
            ("!", "no word"),
        ] {
            let error = select(list).unwrap_err();
            assert!(error.contains(word), "{list}: {error}");
        }
    }
}
