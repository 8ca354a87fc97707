use super::*;

fn declare(name: &str, labels: &[(&str, &str)], shape: Shape) -> Declaration {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Declaration { name: name.to_owned(), help: String::from("help"), labels, shape }
}

fn only(mut reports: Vec<MetricsReport>) -> MetricsReport {
    assert_eq!(reports.len(), 1, "{reports:?}");
    reports.remove(0)
}

#[test]
fn what_is_new_is_said_once_and_then_only_what_has_changed() {
    let metrics = Metrics::default();
    let mut reporter = Reporter::default();
    assert!(reporter.reports(metrics.registry()).is_empty(), "nothing was declared");
    let counter = metrics.counter("seen_total", "seen").expect("declared");
    let gauge = metrics.gauge("depth", "depth").expect("declared");
    counter.add(3);
    let first = only(reporter.reports(metrics.registry()));
    assert_eq!(first.declared.len(), 2);
    let changes =
        [Change { metric: 0, amount: Amount::Rise(3) }, Change { metric: 1, amount: Amount::Level(0.0) }];
    assert_eq!(first.changes, changes);
    assert!(reporter.reports(metrics.registry()).is_empty(), "nothing has changed");
    counter.inc();
    gauge.add(-1.5);
    gauge.add(1.5);
    let second = only(reporter.reports(metrics.registry()));
    assert_eq!(
        (second.declared.len(), second.changes),
        (0, vec![Change { metric: 0, amount: Amount::Rise(1) }])
    );
}

#[test]
fn an_observation_is_counted_at_the_first_bound_that_is_not_below_it() {
    let metrics = Metrics::default();
    let histogram = metrics.histogram("size_bytes", "size", &[1.0, 2.0]).expect("declared");
    for value in [0.5, 1.0, 1.5, 2.0, 3.0, -7.0] {
        histogram.observe(value);
    }
    for nonsense in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        histogram.observe(nonsense);
    }
    assert_eq!(histogram.counts(), [3, 2, 1]);
    assert!((histogram.sum() - 1.0).abs() < 1e-9);
    histogram.observe(f64::MAX);
    histogram.observe(f64::MAX);
    assert!(histogram.sum().is_finite(), "what is sent is a number");
}

#[test]
fn the_same_declaration_is_the_same_metric_and_another_kind_is_refused() {
    let metrics = Metrics::default();
    let first = metrics.counter("seen_total", "seen").expect("declared");
    metrics.counter("seen_total", "otherwise explained").expect("the same").inc();
    let other = metrics.clone().label("by", "eye").counter("seen_total", "seen").expect("other labels");
    assert_eq!((first.value(), other.value()), (1, 0));
    for refused in
        [metrics.gauge("seen_total", "seen").err(), metrics.label("by", "ear").gauge("seen_total", "").err()]
    {
        assert!(matches!(refused, Some(MetricError::Taken { declared: "a counter", .. })), "{refused:?}");
    }
}

/// A histogram `x` is shown as `x_bucket`, `x_sum` and `x_count`: nothing else may be.
#[test]
fn names_that_a_histogram_takes_are_taken() {
    let metrics = Metrics::default();
    metrics.histogram("wait", "wait", &[1.0]).expect("declared");
    metrics.histogram("wait", "wait", &[2.0]).expect_err("other buckets");
    metrics.counter("wait_count", "").expect_err("taken");
    metrics.counter("run_sum", "").expect("free");
    metrics.histogram("run", "", &[1.0]).expect_err("taken");
}

#[test]
fn what_cannot_be_shown_cannot_be_declared() {
    let long = "x".repeat(129);
    let labels =
        [("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", ""), ("f", ""), ("g", ""), ("h", ""), ("i", "")];
    let refused = [
        declare("", &[], Shape::Counter),
        declare("9lives", &[], Shape::Counter),
        declare("two words", &[], Shape::Counter),
        declare("größe", &[], Shape::Counter),
        declare(&long, &[], Shape::Counter),
        declare("ganger_jobs_total", &[], Shape::Counter),
        declare("x", &[("slot", "7")], Shape::Counter),
        declare("x", &[("le", "7")], Shape::Counter),
        declare("x", &[("__name__", "y")], Shape::Counter),
        declare("x", &[("a:b", "y")], Shape::Counter),
        declare("x", &[("a", "1"), ("a", "2")], Shape::Counter),
        declare("x", &[("a", &long)], Shape::Counter),
        declare("x", &labels, Shape::Counter),
        declare("x", &[], Shape::Histogram(vec![])),
        declare("x", &[], Shape::Histogram(vec![1.0, 1.0])),
        declare("x", &[], Shape::Histogram(vec![2.0, 1.0])),
        declare("x", &[], Shape::Histogram(vec![f64::NAN])),
        declare("x", &[], Shape::Histogram(vec![1.0, f64::INFINITY])),
        declare("x", &[], Shape::Histogram((0..65).map(f64::from).collect())),
        Declaration { help: "x".repeat(513), ..declare("x", &[], Shape::Gauge) },
    ];
    for declaration in refused {
        assert!(declaration.check().is_err(), "{declaration:?}");
    }
    declare("ok:x_1", &labels[..8], Shape::Counter).check().expect("all of it is allowed");
}

#[test]
fn a_process_declares_so_many_and_no_more() {
    let metrics = Metrics::default();
    for number in 0..MAX_METRICS {
        metrics.clone().label("number", number.to_string()).counter("x_total", "").expect("declared");
    }
    let one_too_many = metrics.counter("x_total", "").expect_err("one too many");
    assert!(matches!(one_too_many, MetricError::TooMany { .. }), "{one_too_many}");
    metrics.label("number", "7").counter("x_total", "").expect("it is there");
}

/// Every report fits into a head, whatever is declared.
#[test]
fn reports_fit_into_heads() {
    let metrics = Metrics::default();
    let bounds: Vec<f64> = (0..64).map(f64::from).collect();
    let value = "v".repeat(MAX_LABEL_VALUE);
    for number in 0..MAX_METRICS {
        let labels =
            (0..7).fold(metrics.clone(), |metrics, label| metrics.label(format!("l{label}"), &*value));
        let name = format!("{}_{number}", "n".repeat(MAX_METRIC_NAME - 4));
        let histogram = labels.histogram(&name, &"h".repeat(MAX_HELP), &bounds).expect("declared");
        (0..65).for_each(|value| histogram.observe(f64::from(value)));
    }
    let reports = Reporter::default().reports(metrics.registry());
    let declared: usize = reports.iter().map(|report| report.declared.len()).sum();
    let changed: usize = reports.iter().map(|report| report.changes.len()).sum();
    assert_eq!((declared, changed), (MAX_METRICS, MAX_METRICS));
    for report in reports {
        let bytes = crate::encode(&report).expect("it encodes").len();
        assert!(bytes <= crate::MAX_HEAD, "{bytes}");
    }
}
