//! `docs/filters.md` says what the code does.

use super::*;
use std::fmt::Write as _;

const PAGE: &str = include_str!("../../../../docs/filters.md");

fn values(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Texts => "list of texts".to_owned(),
        Kind::Word(words) => words.join(", "),
        Kind::Words(words) => format!("list of {}", words.join(", ")),
        Kind::Number(most) if most >= u64::from(u32::MAX >> 1) => "number".to_owned(),
        Kind::Number(most) => format!("number up to {most}"),
        Kind::Bytes => "number of bytes".to_owned(),
        Kind::Protocol => "protocol".to_owned(),
        Kind::Address => "address".to_owned(),
        Kind::Flag => "flag".to_owned(),
    }
}

fn row(field: Field) -> String {
    let known = |place| if field.is_known(place) { "yes" } else { "" };
    let both = match field.sameness() {
        Sameness::Alike => "alike",
        Sameness::WhereKnown => "where known",
        Sameness::OfReport => "",
    };
    let name = field.to_string();
    let name = name.strip_prefix("src.").map_or(name.clone(), |name| format!("….{name}"));
    let ecs = if matches!(field, Field::End(..)) { format!("….{}", field.ecs()) } else { field.ecs().to_owned() };
    let other = if ecs == name { String::new() } else { format!("`{ecs}`") };
    format!(
        "| `{name}` | {other} | {} | {} | {} | {} | {both} | {} |\n",
        values(field.kind()),
        known(Place::Sample),
        known(Place::Record),
        known(Place::Search),
        field.meaning()
    )
}

#[test]
fn the_table_of_fields_is_that_of_the_code() {
    let mut table =
        String::from("| field | also | values | enricher | `--follow` | search | both reports | meaning |\n");
    table += "|---|---|---|---|---|---|---|---|\n";
    let listed = Field::all().filter(|field| !matches!(field, Field::End(End::Destination, _)));
    for field in listed {
        let _ = write!(table, "{}", row(field));
    }
    assert!(PAGE.contains(&table), "the table should be:\n{table}");
}

#[test]
fn every_example_of_the_page_is_understood() {
    let mut examples = 0;
    for block in PAGE.split("```").skip(1).step_by(2) {
        let Some((language, lines)) = block.split_once('\n') else { continue };
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let outcome = match language {
                "filter" => parse(line, Place::Search).map(drop),
                "rule" => parse_rule(line).map(drop),
                _ => continue,
            };
            examples += 1;
            assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
        }
    }
    assert!(examples > 10, "{examples}");
}
