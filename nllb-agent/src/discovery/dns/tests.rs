//! A name server on loopback that says what a test wants, over real sockets.

use super::*;
use domain::base::{Message, MessageBuilder};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What the server says of one family of every name.
#[derive(Clone, Debug)]
enum Says {
    /// These, for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    Rcode(Rcode),
    Nonsense,
    /// No answer: nobody listens, or so it looks.
    Nothing,
}

/// A name server; it ends with the value.
pub(in crate::discovery) struct Server {
    says: Arc<Mutex<[Says; 2]>>,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
    port: u16,
    _dir: tempfile::TempDir,
    configuration: PathBuf,
    hosts: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(in crate::discovery) async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let port = socket.local_addr().expect("an address").port();
        let says = Arc::new(Mutex::new([Says::Nothing, Says::Nothing]));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(serve(socket, Arc::clone(&says), Arc::clone(&asked)));
        let dir = tempfile::tempdir().expect("a directory");
        let (configuration, hosts) = (dir.path().join("resolv.conf"), dir.path().join("hosts"));
        let server = Self { says, asked, task, port, configuration, hosts, _dir: dir };
        server.configure("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
        server
    }

    fn configure(&self, text: &str) {
        std::fs::write(&self.configuration, text).expect("written");
    }

    pub(in crate::discovery) fn resolver(&self) -> Resolver {
        Resolver { port: self.port, ..Resolver::of(&self.configuration, &self.hosts) }
    }

    fn say(&self, v4: Says, v6: Says) {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = [v4, v6];
    }

    /// From now on it says these addresses.
    pub(in crate::discovery) fn tell(&self, addresses: &[&str], ttl: u32) {
        let all = addresses.iter().map(|text| text.parse().expect("an address"));
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = all.partition(IpAddr::is_ipv4);
        self.say(Says::Addresses(v4, ttl), Says::Addresses(v6, ttl));
    }

    /// From now on it says that its own servers fail.
    pub(in crate::discovery) fn fail(&self) {
        self.say(Says::Rcode(Rcode::SERVFAIL), Says::Rcode(Rcode::SERVFAIL));
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn serve(socket: UdpSocket, says: Arc<Mutex<[Says; 2]>>, asked: Arc<Mutex<Vec<String>>>) {
    let mut buffer = [0; 2048];
    while let Ok((size, from)) = socket.recv_from(&mut buffer).await {
        let question = Message::from_octets(buffer[..size].to_vec()).expect("a question");
        let asks = question.first_question().expect("one");
        let name = asks.qname().to_string();
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        let family = usize::from(asks.qtype() == Rtype::AAAA);
        let says = says.lock().unwrap_or_else(PoisonError::into_inner)[family].clone();
        if let Some(answer) = answer(&question, &says) {
            socket.send_to(&answer, from).await.expect("sent");
        }
    }
}

fn answer(question: &Message<Vec<u8>>, says: &Says) -> Option<Vec<u8>> {
    let builder = MessageBuilder::new_vec();
    let (addresses, ttl) = match says {
        Says::Nothing => return None,
        Says::Nonsense => {
            // The header of a good answer, and rubbish behind it.
            let mut bytes = builder.start_answer(question, Rcode::NOERROR).ok()?.finish();
            bytes[7] = 9;
            bytes.extend([0xc0, 0xff, 0xff]);
            return Some(bytes);
        }
        Says::Rcode(rcode) => {
            return Some(builder.start_answer(question, *rcode).ok()?.finish());
        }
        Says::Addresses(addresses, ttl) => (addresses, *ttl),
    };
    let mut builder = builder.start_answer(question, Rcode::NOERROR).ok()?;
    let name = question.first_question()?.qname().to_vec();
    for address in addresses {
        match address {
            IpAddr::V4(v4) => builder.push((&name, ttl, A::new(*v4))).ok()?,
            IpAddr::V6(v6) => builder.push((&name, ttl, Aaaa::new(*v6))).ok()?,
        }
    }
    Some(builder.finish())
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().expect("an address")).collect()
}

#[tokio::test]
async fn all_addresses_of_both_families_are_found_and_the_shorter_life_counts() {
    let server = Server::start().await;
    let mut resolver = server.resolver();
    let v4 = vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 12)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11))];
    let v6 = vec![IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1))];
    server.say(Says::Addresses(v4, 60), Says::Addresses(v6, 30));
    let found = resolver.look_up("cp.example.org").await;
    assert_eq!(found.addresses, ips(&["10.0.0.11", "10.0.0.12", "fd00::1"]));
    assert_eq!((found.wrong, found.good_for), (None, Duration::from_secs(30)));
    for (ttl, expected) in [(0, SHORTEST), (86_400, LONGEST)] {
        server.tell(&["10.0.0.11"], ttl);
        assert_eq!(resolver.look_up("cp.example.org").await.good_for, expected, "{ttl}");
    }
}

#[tokio::test]
async fn whatever_goes_wrong_the_last_good_answer_stays_and_one_line_says_why() {
    let server = Server::start().await;
    let mut resolver = server.resolver();
    let nothing = resolver.look_up("cp.example.org").await;
    assert!(nothing.addresses.is_empty());
    assert!(nothing.wrong.is_some_and(|line| line.contains("no name server answers")));
    server.tell(&["10.0.0.11", "fd00::11"], 60);
    resolver.look_up("cp.example.org").await;
    for (says, expected) in [
        (Says::Rcode(Rcode::SERVFAIL), "SERVFAIL"),
        (Says::Rcode(Rcode::NXDOMAIN), "does not exist"),
        (Says::Addresses(Vec::new(), 60), "has no address"),
        (Says::Nonsense, ""),
        (Says::Nothing, "no name server answers"),
    ] {
        server.say(says.clone(), says.clone());
        let found = resolver.look_up("cp.example.org").await;
        assert_eq!(found.addresses, ips(&["10.0.0.11", "fd00::11"]), "{says:?}");
        let line = found.wrong.unwrap_or_default();
        assert!(line.starts_with("cp.example.org cannot be resolved: "), "{says:?}: {line}");
        assert!(line.contains(expected) && !line.contains('\n'), "{says:?}: {line}");
    }
    // One family alone.
    let v4 = Says::Addresses(ips(&["10.0.0.12"]), 60);
    server.say(v4, Says::Rcode(Rcode::SERVFAIL));
    let found = resolver.look_up("cp.example.org").await;
    assert_eq!(found.addresses, ips(&["10.0.0.12", "fd00::11"]));
    assert!(found.wrong.is_some_and(|line| line.contains("SERVFAIL")));
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_both_files_are_read_each_time() {
    let server = Server::start().await;
    let mut resolver = server.resolver();
    server.tell(&["10.0.0.11"], 60);
    std::fs::write(&server.hosts, "127.0.0.1 localhost\n10.0.0.98 # CP\n10.0.0.99 x Cp # y\n")
        .expect("written");
    let found = resolver.look_up("cp").await;
    assert_eq!(found.addresses, ips(&["10.0.0.99"]));
    assert_eq!(server.asked(), Vec::<String>::new());
    std::fs::remove_file(&server.hosts).expect("removed");
    server.configure(
        "search a.example b.example\nnameserver nonsense here\nwhat is this\nnameserver 127.0.0.1\n",
    );
    assert_eq!(resolver.look_up("cp").await.addresses, ips(&["10.0.0.11"]));
    assert_eq!(server.asked(), ["cp.a.example", "cp.a.example"]);
    resolver.look_up("cp.example.org").await;
    assert_eq!(server.asked(), ["cp.example.org", "cp.example.org"]);
}

#[tokio::test]
async fn a_question_leaves_no_task_behind() {
    let server = Server::start().await;
    let mut resolver = server.resolver();
    server.tell(&["10.0.0.11"], 60);
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    for _ in 0..10 {
        assert!(resolver.look_up("cp.example.org").await.wrong.is_none());
    }
    let ended = async {
        while alive() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("all have ended");
}

#[test]
fn a_name_without_dots_is_searched_for_first_and_one_with_dots_last() {
    let names = |name, text| {
        let names = full_names(name, &configuration(text)).expect("a name");
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let searching = "search a.example b.example\nnameserver 10.0.0.1\n";
    assert_eq!(names("cp", searching), ["cp.a.example", "cp.b.example", "cp"]);
    assert_eq!(names("cp.x", searching), ["cp.x", "cp.x.a.example", "cp.x.b.example"]);
    assert_eq!(names("cp.", searching), ["cp"]);
    assert_eq!(names("cp", "nameserver 10.0.0.1\n"), ["cp"]);
    assert!(full_names("a..b", &configuration("")).is_err());
}

#[test]
fn a_server_of_the_configuration_is_an_address() {
    let servers = configuration("nameserver 10.0.0.1\nnameserver fd00::1\n").servers;
    let servers: Vec<SocketAddr> = servers.iter().map(|server| server.addr).collect();
    assert_eq!(servers, ["10.0.0.1:53", "[fd00::1]:53"].map(|text| text.parse().expect("one")));
}
