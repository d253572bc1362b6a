//! BIRD, on members and as the router.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{Announcer, example, examples, libraries, script};
use crate::process::Process;
use crate::{Lab, netns, tools};

/// A member's daemon may end a session once when BFD begins; that is not waited out for a minute.
const ROUTER_CONF: &str = r#"
log stderr all;
router id $ROUTER;
protocol device { }
protocol bfd { interface "eth0" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }; }
protocol kernel { merge paths on; ipv4 { import none; export all; }; }
protocol kernel { merge paths on; ipv6 { import none; export all; }; }
template bgp host { bfd; error wait time 1, 2; connect retry time 1; }
"#;

/// The program.
pub struct Bird {
    program: PathBuf,
}

impl Bird {
    /// None where it is not.
    #[must_use]
    pub fn find() -> Option<Self> {
        Some(Self { program: tools::find("bird", "bird2")? })
    }

    fn run(&self, netns: &str, directory: &Path, conf: &str) -> Result<Process> {
        fs::create_dir_all(directory)?;
        let file = directory.join("bird.conf");
        fs::write(&file, conf)?;
        let log = fs::File::create(directory.join("log"))?;
        let mut command = Command::new(&self.program);
        command.arg("-f").arg("-c").arg(file).arg("-s").arg(directory.join("bird.ctl"));
        command.arg("-P").arg(directory.join("pid")).env("LD_LIBRARY_PATH", libraries());
        command.stdin(Stdio::null()).stderr(log);
        netns::run_in(netns, || Process::start(command))?
    }

    /// On the lab's first node: takes what members announce.
    pub fn run_router(&self, lab: &Lab) -> Result<Process> {
        let node = lab.node(0);
        let mut conf = ROUTER_CONF.replace("$ROUTER", &node.v4().to_string());
        for plane in lab.control_planes() {
            let families = [
                ("ipv4", node.v4().to_string(), plane.v4().to_string()),
                ("ipv6", node.v6().to_string(), plane.v6().to_string()),
            ];
            for (family, own, member) in families {
                let name = plane.name();
                conf.push_str(&format!(
                    "protocol bgp {name}_{family} from host {{
                        local {own} as 65000; neighbor {member} as 65010;
                        {family} {{ import all; export none; }};
                    }}\n"
                ));
            }
        }
        self.run(node.netns(), &lab.directory().join("bird-router"), &conf)
    }

    /// As in `deploy/ecmp`. Gives the script that switches its routes, too.
    pub fn run_member(&self, lab: &Lab, index: usize) -> Result<Announcer> {
        let plane = lab.control_plane(index);
        let directory = lab.directory().join(format!("bird-{}", plane.name()));
        let conf = example("bird.conf", lab, index)?.replace("log syslog all", "log stderr all");
        let process = self.run(plane.netns(), &directory, &conf)?;
        let programs = self.program.parent().context("a program without a directory")?.display();
        let lines = format!(
            "export PATH={programs}:$PATH LD_LIBRARY_PATH={} BIRD_SOCKET={}\nexec {} \"$@\"\n",
            libraries(),
            directory.join("bird.ctl").display(),
            examples().join("bird.sh").display(),
        );
        Ok((vec![process], script(&directory, "bird.sh", &lines)?))
    }
}
