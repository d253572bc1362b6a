//! Reads a list of hosts from a file: one address a line, with a port or without, comments after `#`.

use super::{BadLine, LARGEST, Looked, text_of};
use nllb_core::Sighting;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Reads the file. A line that is no address is told and the others count, since a slip of one must not
/// cost the way to all.
///
/// # Errors
/// One line, when it cannot be read.
pub(super) fn read(file: &Path) -> Result<Looked, String> {
    Ok(parse(&text_of(file, LARGEST)?))
}

fn parse(text: &str) -> Looked {
    let mut looked = Looked::default();
    for (index, line) in text.lines().enumerate() {
        let host = line.split('#').next().unwrap_or_default().trim();
        if host.is_empty() {
            continue;
        }
        match sighting(host) {
            Some(sighting) => looked.sightings.push(sighting),
            None => {
                let line = BadLine { number: index + 1, text: host };
                looked.wrong.get_or_insert_with(|| line.to_string());
            }
        }
    }
    looked
}

fn sighting(text: &str) -> Option<Sighting> {
    let with_port = text.parse().map(|addr: SocketAddr| (addr.ip(), Some(addr.port())));
    let (ip, port) = with_port.or_else(|_| text.parse().map(|ip: IpAddr| (ip, None))).ok()?;
    Some(Sighting::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_stand_one_a_line_between_comments_and_a_bad_one_is_named() {
        let looked =
            parse("# ours\n10.0.0.11\n\n 10.0.0.12:8443 # new\r\n[fd00::13]:6443\nfd00::14\n");
        let said = |sighting: &Sighting| (sighting.ip.to_string(), sighting.port);
        let expected = [
            ("10.0.0.11".to_owned(), None),
            ("10.0.0.12".to_owned(), Some(8443)),
            ("fd00::13".to_owned(), Some(6443)),
            ("fd00::14".to_owned(), None),
        ];
        assert_eq!(looked.sightings.iter().map(said).collect::<Vec<_>>(), expected);
        assert_eq!(looked.wrong, None);

        let looked = parse("10.0.0.11\ncp.example.org\n10.0.0.300\n10.0.0.12\n");
        assert_eq!(looked.sightings.len(), 2);
        assert_eq!(
            looked.wrong.as_deref(),
            Some(
                "line 2: \"cp.example.org\" is not a host's address: write it like 10.0.0.11 or 10.0.0.11:6443"
            )
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_in_one_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let error = read(&dir.path().join("none")).expect_err("no file");
        assert!(error.contains("cannot be read") && !error.contains('\n'), "{error}");
        let large = dir.path().join("large");
        std::fs::write(&large, vec![b'\n'; 1 << 20]).expect("written");
        assert!(read(&large).expect_err("too large").contains("bytes"));
        let binary = dir.path().join("binary");
        std::fs::write(&binary, [0xff, 0xfe]).expect("written");
        assert!(read(&binary).expect_err("no text").contains("cannot be read"));
    }

    proptest! {
        #[test]
        fn whatever_stands_in_a_file_each_line_is_a_host_or_nothing(text in "\\PC*", lines in prop::collection::vec("[0-9a-f:.# ]{0,40}", 0..50)) {
            let text = format!("{text}\n{}", lines.join("\n"));
            let looked = parse(&text);
            prop_assert!(looked.sightings.len() <= text.lines().count());
            prop_assert!(looked.wrong.is_none_or(|line| !line.contains('\n')));
        }
    }
}
