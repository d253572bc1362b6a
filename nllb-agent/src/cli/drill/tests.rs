use super::plan::Subject;
use super::*;

#[test]
fn a_backend_is_out_for_longer_than_the_sla() {
    let terms = |sla, stay| {
        let [sla, stay] = [Some(sla), stay].map(|s| s.map(Duration::from_secs));
        Terms::new(true, sla.expect("some"), stay).map(|terms| terms.stay.as_secs())
    };
    assert_eq!(terms(2, None), Ok(5));
    assert_eq!(terms(10, None), Ok(20));
    assert_eq!(terms(2, Some(3)), Ok(3));
    let line = terms(2, Some(2)).expect_err("too short");
    assert!(line.starts_with("--for 2s is no longer than --sla 2s"), "{line}");
}

#[test]
fn only_a_yes_is_one() {
    let subject = Subject { backend: ([10, 0, 0, 11], 6443).into(), ways: Vec::new() };
    let (pool, members) = ("apiserver".to_owned(), std::collections::BTreeSet::new());
    let plan = Plan { pool, members, subjects: vec![subject] };
    let terms = Terms::new(false, Duration::from_secs(2), None).expect("terms");
    let answered = |answer: &str| {
        let mut asked = Vec::new();
        let yes = confirmed(&plan, terms, &[], &mut answer.as_bytes(), &mut asked).expect("asked");
        (yes, String::from_utf8(asked).expect("text"))
    };
    for (answer, yes) in
        [("y\n", true), ("Yes\n", true), ("\n", false), ("", false), ("no\n", false)]
    {
        assert_eq!(answered(answer).0, yes, "{answer:?}");
    }
    let asked = "10.0.0.11:6443 of pool apiserver: out of service on this node for 5s each \
                 (drained, its connections stay). Go on? [y/N] ";
    assert_eq!(answered("").1, asked);
}
