//! An embedded API server on loopback.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use nllb_lab::apiserver::{self, Modes, Objects, Request, Settings, Startup, Stats, VERSION};
use nllb_lab::pki::Authority;
use nllb_lab::process::Process;
use nllb_lab::{Client, Connect, Http, Outcome, Place};

pub(crate) struct Server {
    pub(crate) authority: Authority,
    pub(crate) client: Client,
    pub(crate) process: Process,
    pub(crate) tls: SocketAddr,
    pub(crate) plain: SocketAddr,
    control: PathBuf,
    _lifeline: Option<ChildStdin>,
    _directory: tempfile::TempDir,
}

impl Server {
    /// A server on loopback.
    pub(crate) fn start(tune: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::new("test").expect("an authority");
        let identity = authority.server("cp7", &["kubernetes".to_owned()]).expect("a certificate");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut settings = Settings {
            name: "cp7".to_owned(),
            listen: vec![any],
            listen_plain: vec![any],
            ports: Vec::new(),
            certificate: identity.certificate,
            key: identity.key,
            client_authority: authority.pem().to_owned(),
            control: directory.path().join("control"),
            leases: directory.path().join("leases"),
            bearer_token: "secret".to_owned(),
            objects: Objects::default(),
            version: VERSION.to_owned(),
            kubelet_version: VERSION.to_owned(),
            startup: Startup::default(),
            modes: Modes::default(),
        };
        tune(&mut settings);
        let file = directory.path().join("settings");
        fs::write(&file, serde_json::to_vec(&settings).expect("JSON")).expect("a file");
        let args = ["apiserver".into(), "--config".into(), file.into()];
        let mut process = Process::spawn(&Place::default(), &args, None).expect("a process");
        let lifeline = process.take_stdin();
        let mut line = String::new();
        let stdout = process.take_stdout().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("its addresses");
        let addresses: Vec<SocketAddr> = serde_json::from_str(&line).expect("its addresses");
        Self {
            authority,
            client: Client::start(&Place::default()).expect("a client"),
            process,
            tls: addresses.first().copied().unwrap_or(any),
            plain: addresses.get(1).copied().unwrap_or(any),
            control: settings.control,
            _lifeline: lifeline,
            _directory: directory,
        }
    }

    pub(crate) fn http(&self, path: &str) -> Http {
        Http {
            path: path.to_owned(),
            server_name: "kubernetes".to_owned(),
            authority: self.authority.pem().to_owned(),
            bearer: None,
            identity: None,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Outcome {
        self.get_at(self.tls, path)
    }

    pub(crate) fn get_at(&self, address: SocketAddr, path: &str) -> Outcome {
        self.connect(&Connect::http(address, self.http(path)))
    }

    pub(crate) fn connect(&self, connect: &Connect) -> Outcome {
        self.client.connect(connect).expect("the client answers")
    }

    pub(crate) fn watch(&self) -> u64 {
        let http = self.http("/api/v1/watch/pods");
        let outcome = self.connect(&Connect { keep: true, ..Connect::http(self.tls, http) });
        assert_eq!(outcome.status, Some(200), "{outcome:?}");
        outcome.handle.expect("a handle")
    }

    /// Connects until the server refuses; when that was.
    pub(crate) fn await_refusal(&self) -> Instant {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if self.connect(&Connect::to(self.tls)).error.as_deref() == Some("ECONNREFUSED") {
                return Instant::now();
            }
            assert!(Instant::now() < deadline, "the listener does not close");
        }
    }

    pub(crate) fn set(&self, modes: Modes) {
        self.tell(&Request::Set(modes));
    }

    pub(crate) fn tell(&self, request: &Request) {
        apiserver::ask(&self.control, request).expect("changed");
    }

    pub(crate) fn stats(&self) -> Stats {
        apiserver::ask(&self.control, &Request::Stats).expect("told")
    }
}
