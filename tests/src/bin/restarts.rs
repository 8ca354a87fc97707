//! Restarts workers: `restarts --count N`; exit status 101 when anything leaks.

fn main() {
    let mut words = std::env::args().skip_while(|word| word != "--count").skip(1);
    let count = words.next().and_then(|word| word.parse().ok()).unwrap_or(10_000);
    let _ = ganger_tests::restarts::run(count);
}
