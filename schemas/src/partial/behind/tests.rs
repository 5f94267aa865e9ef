use super::*;

fn sets(addresses: &[&str], pods: &[&'static str], labels: &[&'static str]) -> Sets<&'static str> {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Sets { addresses, pods: pods.to_vec(), labels: labels.to_vec(), domains: Vec::new() }
}

fn read(bytes: &[u8]) -> Result<Behind, Malformed> {
    Behind::take(&mut Input::new(bytes, 1_000))
}

#[test]
fn what_is_encoded_is_read_as_it_was() {
    let ends = [
        sets(&["10.0.0.1", "2001:db8::1"], &["shop/a"], &["app=web"]),
        Sets { domains: vec!["n"], ..sets(&[], &[], &[]) },
    ];
    let behind = Behind::of(&ends);
    assert_eq!(behind.ends(), ends);
    let mut output = Output::default();
    behind.put(&mut output);
    assert_eq!(read(&output.bytes).unwrap().ends(), ends);
    assert_eq!(Behind::from(&ends.map(Sets::<String>::from)), behind);
}

#[test]
fn nothing_behind_either_end_takes_no_memory() {
    let nothing = Behind::of(&Default::default());
    assert!(nothing.is_empty() && nothing.memory() == 0);
    assert!(read(&EMPTY).unwrap().is_empty());
    assert!(Behind::of_alone([None, None]).is_empty());
    assert!(Behind::of_alone([Some(&Alone::new(None, None, [])), None]).is_empty());
}

#[test]
fn one_end_alone_is_what_its_lists_are() {
    let address = "10.0.0.1".parse().unwrap();
    let alone = Alone::new(Some(address), Some("shop/a"), ["app=web", "team=a"]);
    let lists = || sets(&["10.0.0.1"], &["shop/a"], &["app=web", "team=a"]);
    assert_eq!(Behind::of_alone([Some(&alone), None]).ends(), [lists(), Sets::default()]);
    assert_eq!(Behind::of_alone([None, Some(&alone)]).ends(), [Sets::default(), lists()]);
    assert_eq!(Behind::of_alone([Some(&alone); 2]), Behind::of(&[lists(), lists()]));
}

#[test]
fn lists_in_several_blocks_are_read_as_in_one() {
    // Of the initiator's pods two blocks, the second with its length in bytes.
    let several = [0, 0, 2, 2, b'a', 1, 4, 2, b'b', 0, 0, 0, 0, 0, 0];
    let found = read(&several).unwrap();
    assert_eq!(found.ends()[0].pods, ["a", "b"]);
    assert_eq!(found, Behind::of(&[sets(&[], &["a", "b"], &[]), Sets::default()]));
}

#[test]
fn what_are_no_lists_is_refused() {
    assert_eq!(read(&[0; 7]), Err(Malformed::Short));
    assert_eq!(read(&[2, 2, 9, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed::Address));
    assert_eq!(read(&[0, 0, 2, 2, 0xFF, 0, 0, 0, 0, 0, 0]), Err(Malformed::Text));
}

#[test]
fn what_is_changed_is_encoded_anew() {
    let mut behind = Behind::of(&[sets(&[], &["a", "b"], &[]), Sets::default()]);
    behind.change(|[initiator, _]| initiator.pods.truncate(1));
    assert_eq!(behind.ends()[0].pods, ["a"]);
    behind.change(|[initiator, _]| initiator.pods.clear());
    assert!(behind.is_empty());
}
