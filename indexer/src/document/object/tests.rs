use super::*;

#[test]
fn members_stand_between_commas_and_what_is_absent_leaves_none() {
    let mut line = b"before".to_vec();
    let mut object = Object::begin(&mut line);
    object.rare("\"zero\":", 0).unwrap();
    object.flag("\"no\":", false);
    object.list::<u64>("\"none\":", &[]).unwrap();
    object.optional("\"absent\":", None::<&u64>).unwrap();
    object.rare("\"one\":", 1).unwrap();
    object.object("\"empty\":").end();
    object.flag("\"yes\":", true);
    object.list("\"some\":", &["a\"b"]).unwrap();
    object.more(b",\"raw\":[]");
    object.time("\"time\":", 0).unwrap();
    object.end();
    assert_eq!(
        String::from_utf8(line).unwrap(),
        r#"before{"one":1,"empty":{},"yes":true,"some":["a\"b"],"raw":[],"time":"1970-01-01T00:00:00.000Z"}"#
    );
}
