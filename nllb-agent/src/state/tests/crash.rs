//! A disk that loses power, or has no room, at any step of a write.

use super::*;
use std::collections::BTreeMap;

/// A disk that loses power after some steps. Nothing is kept for certain that was not brought to it.
#[derive(Default)]
struct Crashing {
    /// Steps until the power is gone.
    left: usize,
    files: Vec<Content>,
    /// Which names a crash may leave for which files, by directory entry: the last that is certain
    /// comes first, then those that may have reached the disk.
    names: BTreeMap<PathBuf, Vec<Option<usize>>>,
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    synced: bool,
}

impl Crashing {
    fn holding(file: &Path, text: String) -> Self {
        let content = Content { bytes: text.into_bytes(), synced: true };
        let names = [(file.to_owned(), vec![Some(0)])].into();
        Self { left: 0, files: vec![content], names }
    }

    fn step(&mut self) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        Ok(())
    }

    fn enter(&mut self, path: &Path, file: Option<usize>) {
        self.names.entry(path.to_owned()).or_insert_with(|| vec![None]).push(file);
    }

    fn newest(&self, path: &Path) -> Option<usize> {
        self.names.get(path).and_then(|names| names.last().copied()).flatten()
    }

    /// Everything that may be found under the name when the power is back.
    fn outcomes(&self, path: &Path) -> Vec<Option<Vec<u8>>> {
        let mut outcomes = Vec::new();
        for name in &self.names[path] {
            let Some(Content { bytes, synced }) = name.map(|file| &self.files[file]) else {
                outcomes.push(None);
                continue;
            };
            let lengths = if *synced { bytes.len()..=bytes.len() } else { 0..=bytes.len() };
            outcomes.extend(lengths.map(|length| Some(bytes[..length].to_vec())));
        }
        outcomes
    }
}

impl Disk for Crashing {
    type File = usize;

    fn make_directory(&mut self, _: &Path) -> io::Result<()> {
        self.step()
    }

    fn create(&mut self, path: &Path) -> io::Result<usize> {
        self.step()?;
        self.files.push(Content::default());
        let file = self.files.len() - 1;
        self.enter(path, Some(file));
        Ok(file)
    }

    fn write(&mut self, file: &mut usize, bytes: &[u8]) -> io::Result<()> {
        let content = &mut self.files[*file];
        content.bytes.extend_from_slice(&bytes[..bytes.len() / 2]);
        self.step()?;
        self.files[*file].bytes.extend_from_slice(&bytes[bytes.len() / 2..]);
        Ok(())
    }

    fn sync(&mut self, file: &usize) -> io::Result<()> {
        self.step()?;
        self.files[*file].synced = true;
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        let file = self.newest(from);
        self.enter(to, file);
        self.enter(from, None);
        Ok(())
    }

    fn sync_directory(&mut self, _: &Path) -> io::Result<()> {
        self.step()?;
        for names in self.names.values_mut() {
            names.drain(..names.len() - 1);
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.enter(path, None);
        Ok(())
    }
}

#[test]
fn a_power_loss_at_any_step_leaves_the_old_table_or_the_new_one() {
    let file = Path::new("/var/lib/nllb/table.json");
    let (old, new) = (known(State::Healthy), known(State::Unhealthy));
    let mut finished = false;
    for left in 0..20 {
        let mut disk = Crashing::holding(file, document::render(1, &old, at(NOW)));
        disk.left = left;
        finished = write_to(&mut disk, file, 2, &new, at(NOW)).is_ok();
        for outcome in disk.outcomes(file) {
            let text = outcome.expect("the name is never without a file");
            let Document { generation, known, .. } = document::parse(&text).expect("whole");
            assert!(matches!(generation, 1 | 2), "generation {generation}");
            assert_eq!(known, if generation == 1 { old.clone() } else { new.clone() });
            assert!(!finished || generation == 2, "what was reported as written is there");
        }
    }
    assert!(finished, "20 steps are enough");
}

#[test]
fn a_write_that_fails_leaves_nothing_beside_the_table() {
    let file = Path::new("/var/lib/nllb/table.json");
    let mut disk = Crashing::holding(file, document::render(1, &known(State::Healthy), at(NOW)));
    disk.left = 4;
    let mut full = Full(disk);
    let new = known(State::Unhealthy);
    let error = write_to(&mut full, file, 2, &new, at(NOW)).expect_err("the disk is full");
    assert_eq!(error.to_string(), "cannot write /var/lib/nllb/table.json: its content: disk full");
    let Full(disk) = full;
    assert_eq!(disk.newest(Path::new("/var/lib/nllb/table.json.new")), None);
    assert_eq!(disk.newest(file), Some(0));
}

/// A disk with room for names only.
struct Full(Crashing);

impl Disk for Full {
    type File = usize;

    fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        self.0.make_directory(path)
    }

    fn create(&mut self, path: &Path) -> io::Result<usize> {
        self.0.create(path)
    }

    fn write(&mut self, _: &mut usize, _: &[u8]) -> io::Result<()> {
        Err(io::Error::other("disk full"))
    }

    fn sync(&mut self, file: &usize) -> io::Result<()> {
        self.0.sync(file)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        self.0.sync_directory(path)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
}
