use super::*;

/// The rounds, two seconds apart, in which a probe is due when each is answered at once by `told`.
fn due_in(told: impl Fn(usize) -> Option<Told>, rounds: usize) -> Vec<usize> {
    let begin = Instant::now();
    let mut due = Due::new(begin);
    let mut probed = Vec::new();
    let mut now = begin;
    for round in 0..rounds {
        let is_due = due.is_now(now);
        probed.extend(is_due.then_some(round));
        due.after(now, now + Duration::from_millis(5), told(round).filter(|_| is_due).as_ref());
        now += EVERY;
    }
    probed
}

#[test]
fn probes_that_are_refused_become_rare_while_every_round_asks_which_kinds_there_are() {
    let refused = |_| Some(Told::Failed { what: "probe", why: String::new() });
    assert_eq!(due_in(refused, 40), [0, 2, 6, 14, 22, 30, 38]);
    let answered = |_| Some(Told::Probed(Probed { started: 0, found: [0; WATCHED] }));
    assert_eq!(due_in(answered, 5), [0, 1, 2, 3, 4]);
}

#[test]
fn a_probe_that_is_answered_again_is_made_in_every_round() {
    let told = |round| match round {
        0..3 => Some(Told::Failed { what: "probe", why: String::new() }),
        _ => Some(Told::Probed(Probed { started: 0, found: [0; WATCHED] })),
    };
    assert_eq!(due_in(told, 9), [0, 2, 6, 7, 8]);
}
