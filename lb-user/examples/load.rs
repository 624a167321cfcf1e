use lb_user::dataplane::*;
fn main() {
    let dir = std::path::PathBuf::from("/sys/fs/bpf/xlbtest");
    let p = pins::Pins::open(&dir).unwrap();
    let s = sizes::Sizes { connections: 1000, virtual_servers: 16, real_servers: 64 };
    println!("{}", s.connection_memory());
    match load::load(&s, &p) {
        Ok(mut l) => {
            println!("ok adopted {}", l.adopted);
            for (n, pr) in l.ebpf.programs() {
                println!(
                    "{n} {:?} {:?}",
                    pr.info().map(|i| i.verified_instruction_count()),
                    pr.info().map(|i| i.size_jitted())
                );
            }
            let clock: &aya::programs::Xdp = l.ebpf.program("xlb_clock").unwrap().try_into().unwrap();
            println!("{:?}", clock::Clock::new(clock));
            let _m = maps::Maps::take(&mut l.ebpf);
        }
        Err(e) => {
            println!("{e}");
            let mut c: Option<&dyn std::error::Error> = std::error::Error::source(&e);
            while let Some(x) = c {
                println!("caused by {x}");
                c = x.source();
            }
        }
    }
    p.remove_all().unwrap();
}
