//! Real resolvers that look a name up again and again, as the programs of a node do.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster_dns::VIP;
use crate::lab::Lab;
use crate::name_server::{KUBERNETES, command};
use crate::place::Place;
use crate::process;

/// How often a lookup is begun.
const EVERY: Duration = Duration::from_millis(100);
/// What takes so long has needed a second try, which all of them make after a second.
const SLOW: Duration = Duration::from_millis(900);

/// A resolver, and the command that makes one lookup; it fails when nobody answers.
pub struct Resolver {
    /// What it is called.
    pub name: &'static str,
    words: Vec<String>,
}

/// A lookup.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    /// When it began, from when the first one did.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// Whether it was answered, with what is right.
    pub good: bool,
}

/// glibc's resolver with a configuration of its own, dig with the same patience, and musl's way: three tries, a
/// second each.
pub fn resolvers(lab: &Lab) -> Result<[Resolver; 3]> {
    let write = |name: &str, text: String| -> Result<PathBuf> {
        let file = lab.directory().join(name);
        fs::write(&file, text)?;
        Ok(file)
    };
    let options = "options timeout:1 attempts:3";
    let resolv = write("resolv.conf", format!("nameserver {VIP}\n{options}\n"))?;
    let switch = write("nsswitch.conf", "hosts: dns\n".to_owned())?;
    // In a mount namespace of its own: the host's files stay as they are.
    let script = format!(
        "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/nsswitch.conf && exec getent ahostsv4 {KUBERNETES}.",
        resolv.display(),
        switch.display()
    );
    let getent = ["unshare", "--mount", "sh", "-ec", &script].map(str::to_owned);
    let at = format!("@{VIP}");
    let dig = ["dig", "+time=1", "+tries=3", "+short", &at, KUBERNETES, "A"];
    let program = process::program()?.display().to_string();
    let servers = format!("{VIP}:53");
    let musl = [program.as_str(), "resolve", KUBERNETES, &servers];
    Ok([
        Resolver { name: "getent", words: getent.to_vec() },
        Resolver { name: "dig", words: dig.map(str::to_owned).to_vec() },
        Resolver { name: "musl's way", words: musl.map(str::to_owned).to_vec() },
    ])
}

impl Resolver {
    /// Makes lookups for a while, ten a second, whatever becomes of those before.
    pub fn look_up(&self, place: &Place, lasting: Duration) -> Result<Vec<Lookup>> {
        let start = Instant::now();
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let one = || {
            let began = Instant::now();
            let output = command(place, &words)?.stderr(Stdio::null()).output()?;
            let good = output.status.success()
                && String::from_utf8_lossy(&output.stdout).contains("10.96.0.1");
            Ok(Lookup { began: began - start, took: began.elapsed(), good })
        };
        thread::scope(|scope| {
            let mut lookups = Vec::new();
            while start.elapsed() < lasting {
                lookups.push(scope.spawn(one));
                // reason: the pace of a client.
                thread::sleep(EVERY);
            }
            let join = |lookup: thread::ScopedJoinHandle<'_, Result<Lookup>>| {
                lookup.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            lookups.into_iter().map(join).collect()
        })
    }
}

impl Lookup {
    /// Whether it needed more than one try.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.took >= SLOW
    }

    /// When it ended, from when the first one began.
    #[must_use]
    pub fn ended(&self) -> Duration {
        self.began + self.took
    }
}
