//! Names, sharing, inventory and the text that is scraped.

use super::*;

#[test]
fn counters_are_scraped_with_total_whatever_was_written() {
    let metrics = Metrics::new();
    metrics.counter("weir_a", "A").inc();
    metrics.counter("weir_b_total", "B").inc_by(2);
    let text = metrics.encode().unwrap();
    assert!(text.contains("\nweir_a_total 1\n"), "{text}");
    assert!(text.contains("\nweir_b_total 2\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn same_name_counts_in_one_place() {
    let metrics = Metrics::new();
    metrics.counter("weir_a", "A").inc();
    metrics.clone().counter("weir_a_total", "A").inc();
    assert_eq!(metrics.value("weir_a_total", &[]), Some(2.0));
    assert_eq!(metrics.encode().unwrap().matches("# TYPE").count(), 1);
}

#[test]
fn same_name_with_another_type_still_works_but_is_not_scraped() {
    let metrics = Metrics::new();
    metrics.counter("weir_a", "A").inc();
    let gauge = metrics.gauge("weir_a", "A");
    gauge.set(5);
    assert_eq!(gauge.get(), 5);
    assert_eq!(metrics.value("weir_a_total", &[]), Some(1.0));
    assert_eq!(metrics.inventory().len(), 1);
}

#[test]
fn families_keep_their_labels() {
    let metrics = Metrics::new();
    let family = metrics.counter_family::<Label>("weir_drops", "Drops");
    family.get_or_create(&[("reason", "quo\"ted\\ \n".to_owned())]).inc();
    let gauges = metrics.gauge_family::<Label>("weir_level", "Level");
    gauges.get_or_create(&[("level", "1".to_owned())]).set(-3);
    let seconds = metrics.histogram_family::<Label>("weir_seconds", "Seconds", SECONDS);
    seconds.get_or_create(&[("kind", "x".to_owned())]).observe(0.3);
    assert_eq!(metrics.value("weir_drops_total", &[("reason", "quo\"ted\\ \n")]), Some(1.0));
    assert_eq!(metrics.value("weir_level", &[("level", "1")]), Some(-3.0));
    assert_eq!(metrics.value("weir_seconds_count", &[("kind", "x")]), Some(1.0));
    assert_eq!(metrics.value("weir_seconds_bucket", &[("kind", "x"), ("le", "0.25")]), Some(0.0));
}

#[test]
fn inventory_lists_everything_with_scraped_names() {
    let metrics = Metrics::for_process("weir-x", "1.0");
    let _ = metrics.counter("weir_a", "Things done.");
    let _ = metrics.histogram("weir_z_seconds", "How long", SECONDS);
    let inventory = metrics.inventory();
    let find = |name: &str| inventory.iter().find(|info| info.name == name).unwrap();
    assert_eq!(find("weir_a_total").kind, "counter");
    assert_eq!(find("weir_a_total").help, "Things done");
    assert_eq!(find("weir_z_seconds").kind, "histogram");
    assert_eq!(find("process_open_fds").kind, "gauge");
    assert!(inventory.is_sorted_by_key(|info| info.name.clone()));
}

#[test]
fn inventory_and_scrape_name_the_same_metrics() {
    let metrics = Metrics::for_process("weir-x", "1.0");
    let mut scraped: Vec<String> = metrics.samples().into_iter().map(|sample| sample.name).collect();
    scraped.sort();
    scraped.dedup();
    let listed: Vec<String> = metrics.inventory().into_iter().map(|info| info.name).collect();
    assert_eq!(scraped, listed);
}

#[test]
fn process_shows_its_build_and_its_use_of_the_machine() {
    let metrics = Metrics::for_process("weir-x", "1.0");
    let build = [("service", "weir-x"), ("version", "1.0")];
    assert_eq!(metrics.value("weir_build_info", &build), Some(1.0));
    assert!(metrics.value("process_resident_memory_bytes", &[]).unwrap() > 100_000.0);
    assert!(metrics.value("process_open_fds", &[]).unwrap() >= 3.0);
    assert!(metrics.value("process_cpu_seconds_total", &[]).is_some());
}

#[test]
fn proc_files_are_read_by_position_and_name() {
    let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 100";
    assert_eq!(process::cpu_seconds(stat), Some(2.0));
    assert_eq!(process::resident_bytes("Name:\tx\nVmRSS:\t    12 kB\n"), Some(12_288));
    assert_eq!(process::most_files("Max open files            1024       4096     files\n"), Some(1024));
    assert_eq!(process::cpu_seconds("nonsense"), None);
}

#[test]
fn observer_hears_of_present_and_future_metrics() {
    let metrics = Metrics::new();
    let _ = metrics.counter("weir_a", "A");
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let hearing = Arc::clone(&heard);
    let asked = metrics.clone();
    metrics.for_each(move |info| {
        // An observer may use the registry.
        assert!(!asked.inventory().is_empty());
        hearing.lock().unwrap().push(info.name.clone());
    });
    let _ = metrics.gauge("weir_b", "B");
    assert_eq!(*heard.lock().unwrap(), ["weir_a_total", "weir_b"]);
}
