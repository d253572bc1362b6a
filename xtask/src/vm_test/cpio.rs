//! Archives as the kernel unpacks them into its first file system (`newc`; `initramfs-buffer-format.rst`).
//! Several in a row are unpacked over each other, so what does not change is made once.

/// Where one entry's data, and its name, end.
const ALIGNMENT: usize = 4;
const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive that grows.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// The directories of a path, outermost first; those that are there already are left as they are.
    pub(crate) fn directories(&mut self, path: &str) {
        for (at, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
            self.entry(&path[..at], DIRECTORY, &[]);
        }
    }

    /// A file that can be executed, with its directories.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.directories(path);
        self.entry(path, PROGRAM, content);
    }

    /// The whole.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("/TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        let name = path.trim_start_matches('/');
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("less than 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("a short name");
        // Number, mode, user, group, links, time, size, four device numbers, length of the name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(padded, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_fixed_header_its_name_and_its_content_each_padded() {
        let mut archive = Archive::default();
        archive.file("/a/b", b"hello");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let headers: Vec<_> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(headers.len(), 3, "a directory, a file and the end");
        assert!(headers.iter().all(|at| at % 4 == 0), "{headers:?}");
        // 110 bytes of header, then the name with its zero.
        assert_eq!(&bytes[headers[1] + 110..headers[1] + 114], b"a/b\0");
        assert_eq!(&text[headers[1] + 6 + 6 * 8..headers[1] + 6 + 7 * 8], "00000005");
        assert!(text.contains("hello\0\0\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
