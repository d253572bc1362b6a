//! Takes secrets out of what leaves the node in a support bundle.
//!
//! Two ways, because each alone fails. What has a known shape or place is taken out wherever it stands; of a
//! configuration only values under keys that we know are kept, since what nobody expects there may be
//! anything. And every secret that can be read here (tokens, keys, kubeconfigs, the environment) is looked
//! for letter by letter in all of the bundle.

use serde_json::Value;

/// Stands where a secret was.
pub const REMOVED: &str = "[removed]";
/// Shorter ones would be found in any text.
const SHORTEST: usize = 6;
/// Words in the names of variables and keys whose values are secrets.
const WORDS: [&str; 7] = ["token", "secret", "passw", "credential", "private", "auth", "key"];

/// The keys of a configuration whose values are no secrets. Paths of files are kept, their content is not
/// read.
const KEYS: [&str; 74] = [
    "accept",
    "addresses",
    "admin",
    "annotation",
    "apiVersion",
    "attach",
    "bearerTokenFile",
    "bpffs",
    "caFile",
    "cgroup",
    "clientCertificateFile",
    "clientKeyFile",
    "closeAfter",
    "closeSockets",
    "confirmInterval",
    "controlPlane",
    "datapath",
    "drain",
    "endpoints",
    "events",
    "fall",
    "file",
    "files",
    "floor",
    "freshEvery",
    "frontends",
    "healthPath",
    "healthPort",
    "hosts",
    "http",
    "insecureSkipVerify",
    "interfaces",
    "interval",
    "jitter",
    "journal",
    "kind",
    "kubeconfig",
    "kubeconfigs",
    "kubeletVersion",
    "kubernetes",
    "latencyBands",
    "lease",
    "listen",
    "logLevel",
    "maxBackoff",
    "minVersion",
    "name",
    "names",
    "node",
    "onEmpty",
    "path",
    "pingInterval",
    "policy",
    "pool",
    "pools",
    "port",
    "ports",
    "probe",
    "profile",
    "rebalance",
    "rise",
    "sandboxes",
    "scope",
    "selfTestInterval",
    "sentinel",
    "serverName",
    "service",
    "sharePerMinute",
    "socket",
    "state",
    "timeout",
    "tls",
    "trustAnyCertificate",
    "versionSkew",
];

/// The configuration without secrets, as YAML in JSON's notation; comments are gone.
#[must_use]
pub fn configuration(text: &str) -> String {
    match serde_saphyr::from_str::<Value>(text) {
        Ok(value) => format!("{:#}\n", kept(value)),
        Err(_) => format!("{REMOVED}: it cannot be read as YAML\n"),
    }
}

fn kept(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let entries = entries.into_iter().map(|(key, value)| {
                if KEYS.contains(&key.as_str()) {
                    (key, kept(value))
                } else {
                    // The key may be what somebody pasted.
                    (REMOVED.to_owned(), Value::Null)
                }
            });
            Value::Object(entries.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(kept).collect()),
        Value::String(text) => Value::String(shapes(&text)),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

/// The scalars of a document, however deep.
fn scalars(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => entries.values().for_each(|value| scalars(value, found)),
        Value::Array(items) => items.iter().for_each(|value| scalars(value, found)),
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Secrets that are known letter by letter.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.len() >= SHORTEST && !self.0.iter().any(|known| known == secret) {
            self.0.push(secret.to_owned());
        }
    }

    /// The content of a file of tokens or keys, each line a secret.
    pub fn add_content(&mut self, content: &str) {
        let lines = content.lines().filter(|line| !line.starts_with("-----"));
        lines.for_each(|line| self.add(line));
    }

    /// The users of a kubeconfig: tokens, passwords, keys.
    pub fn add_kubeconfig(&mut self, text: &str) {
        let Ok(document) = serde_saphyr::from_str::<Value>(text) else {
            return self.add_content(text);
        };
        let users = document.get("users").and_then(Value::as_array);
        let mut found = Vec::new();
        for user in users.into_iter().flatten().filter_map(|user| user.get("user")) {
            scalars(user, &mut found);
        }
        found.iter().for_each(|secret| self.add(secret));
    }

    /// What a configuration has under keys that nobody knows, and in comments.
    pub fn add_configuration(&mut self, text: &str) {
        for line in text.lines() {
            if let Some((_, comment)) = line.split_once('#') {
                comment
                    .split_whitespace()
                    .filter(|word| is_suspicious(word))
                    .for_each(|w| self.add(w));
            }
        }
        match serde_saphyr::from_str::<Value>(text) {
            Ok(document) => self.add_unknown(&document),
            Err(_) => {
                let words = text.split(|c: char| c.is_whitespace() || "\"'{}[],".contains(c));
                words.filter(|word| is_suspicious(word)).for_each(|word| self.add(word));
            }
        }
    }

    fn add_unknown(&mut self, value: &Value) {
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    if KEYS.contains(&key.as_str()) {
                        self.add_unknown(value);
                    } else {
                        let mut found = Vec::new();
                        // A key is most likely one of ours, misspelt.
                        found.extend(is_suspicious(key).then(|| key.clone()));
                        scalars(value, &mut found);
                        found.iter().for_each(|secret| self.add(secret));
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add_unknown(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Variables of an environment whose names say that they are secret.
    pub fn add_environment<'a>(&mut self, variables: impl Iterator<Item = (&'a str, &'a str)>) {
        for (name, value) in variables {
            let name = name.to_lowercase();
            if WORDS.iter().any(|word| name.contains(word)) {
                self.add(value);
            }
        }
    }

    /// The text without them, and without what has the shape of a secret.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        let mut known: Vec<&String> = self.0.iter().collect();
        // One that holds another goes whole.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut text = text.to_owned();
        for secret in known {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REMOVED);
            }
        }
        shapes(&text)
    }
}

/// Whether a word looks like one that somebody made up so that nobody guesses it.
fn is_suspicious(word: &str) -> bool {
    let (mut letters, mut digits) = (false, false);
    for byte in word.bytes() {
        letters |= byte.is_ascii_alphabetic();
        digits |= byte.is_ascii_digit();
    }
    let path_or_address = word.starts_with('/') || word.contains(':') || word.contains('.');
    word.len() >= 12 && letters && digits && !path_or_address
}

/// The text without private keys, passwords in URLs, bearer tokens and JWTs.
fn shapes(text: &str) -> String {
    let text = blocks(text, "-----BEGIN", "-----END");
    let text = userinfo(&text);
    let text = after(&text, "Bearer ");
    after(&text, "eyJ")
}

/// Without PEM blocks of anything; certificates are told elsewhere.
fn blocks(text: &str, begin: &str, end: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(begin) {
        out.push_str(&rest[..at]);
        out.push_str(REMOVED);
        let Some(ends) = rest[at..].find(end) else { return out };
        let tail = &rest[at + ends + end.len()..];
        // The label and its dashes.
        rest = tail.find("-----").map_or("", |close| &tail[close + 5..]);
    }
    out + rest
}

/// Without what stands before the `@` of a URL.
fn userinfo(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, authority) = rest.split_at(at + 3);
        out.push_str(before);
        let ends = authority.find(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c));
        let authority = &authority[..ends.unwrap_or(authority.len())];
        rest = &rest[at + 3..];
        if let Some(user) = authority.rfind('@') {
            out.push_str(REMOVED);
            rest = &rest[user..];
        }
    }
    out + rest
}

/// Without the words that begin like this.
fn after(text: &str, begin: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(begin) {
        out.push_str(&rest[..at]);
        let word = &rest[at + begin.len()..];
        let ends = word.find(|c: char| c.is_whitespace() || "\"'<>,".contains(c));
        let ends = ends.unwrap_or(word.len());
        out.push_str(if ends > 0 { REMOVED } else { begin });
        rest = &word[ends..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_a_secret_goes_and_the_rest_stays() {
        let text = "a https://admin:hunter2@cp.example.org:6443/x b\n\
                    Authorization: Bearer s3cr3t-token, more\n\
                    eyJhbGciOiJSUzI1NiJ9.e30.c2ln and\n\
                    -----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----\nthe end";
        let expected = "a https://[removed]@cp.example.org:6443/x b\n\
                        Authorization: [removed], more\n\
                        [removed] and\n\
                        [removed]\nthe end";
        assert_eq!(Secrets::default().clean(text), expected);
        assert_eq!(shapes("-----BEGIN PRIVATE KEY-----\nMIIE"), REMOVED, "cut short");
        assert_eq!(shapes("10.0.0.11:6443 and user@host"), "10.0.0.11:6443 and user@host");
    }

    #[test]
    fn of_a_configuration_only_what_is_known_is_kept() {
        let text = "kind: AgentConfiguration # password is comment-pa55word\n\
                    pools: [{name: apiserver, endpoints: ['10.0.0.11:6443'], token: in-a-t0ken}]\n\
                    pasted-s3cret: {deeper: and-deeper-5}\n";
        let kept = configuration(text);
        assert!(kept.contains("10.0.0.11:6443") && kept.contains("AgentConfiguration"), "{kept}");
        let mut secrets = Secrets::default();
        secrets.add_configuration(text);
        let log = "comment-pa55word in-a-t0ken pasted-s3cret and-deeper-5 apiserver";
        assert_eq!(secrets.clean(log), "[removed] [removed] [removed] [removed] apiserver");
        for secret in ["pa55word", "in-a-t0ken", "pasted-s3cret", "and-deeper-5"] {
            assert!(!kept.contains(secret), "{kept}");
        }
        assert!(configuration("a: [b").starts_with(REMOVED));
    }

    #[test]
    fn what_is_known_letter_by_letter_is_found_everywhere() {
        let mut secrets = Secrets::default();
        secrets.add_content("-----BEGIN KEY-----\nbGluZW9uZQ==\nbGluZXR3bw==\n-----END KEY-----\n");
        secrets.add_kubeconfig(
            "clusters: [{name: a, cluster: {server: 'https://10.0.0.1:6443'}}]\n\
             users: [{name: u, user: {token: kube-token-1, exec: {env: [{name: A, value: deep-one}]}}}]",
        );
        secrets.add_environment([("API_TOKEN", "env-token-1"), ("HOME", "/home/x")].into_iter());
        let text = "bGluZXR3bw== kube-token-1 deep-one env-token-1 /home/x https://10.0.0.1:6443";
        let cleaned = secrets.clean(text);
        assert_eq!(
            cleaned,
            "[removed] [removed] [removed] [removed] /home/x https://10.0.0.1:6443"
        );
    }
}
