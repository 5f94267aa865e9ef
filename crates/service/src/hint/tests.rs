//! What is printed, and the exit code.

use anyhow::Context as _;

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("port 9100 taken")]
struct Taken;

fn failed() -> Result<(), Taken> {
    Err(Taken)
}

#[test]
fn chain_is_one_line_and_the_hint_another() {
    let error = failed().context("bind").hint("choose another port").context("admin").unwrap_err();
    assert_eq!(report(&error), "error: admin: bind: port 9100 taken\nhint: choose another port");
}

#[test]
fn outermost_hint_wins_and_inner_ones_are_found() {
    let error = failed().hint("inner").context("middle").hint("outer").unwrap_err();
    assert_eq!(hint_of(&error).as_deref(), Some("outer"));
    let error = failed().hint("inner").context("middle").exit_code(9).unwrap_err();
    assert_eq!(hint_of(&error).as_deref(), Some("inner"));
    assert_eq!(exit_code_of(&error), 9);
    assert_eq!(report(&error), "error: middle: port 9100 taken\nhint: inner");
}

#[test]
fn exit_code_follows_the_kind_of_error() {
    assert_eq!(exit_code_of(&failed().unwrap_err().into()), EXIT_RUNTIME);
    let settings = SettingsError::NotUnicode { name: "WEIR_X".to_owned() };
    let error = Err::<(), _>(settings).context("settings").unwrap_err();
    assert_eq!(exit_code_of(&error), EXIT_USAGE);
    assert_eq!(hint_of(&error), None);
}
