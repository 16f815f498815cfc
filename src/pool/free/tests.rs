use super::*;

#[cfg(not(loom))]
mod single {
    use super::*;

    #[test]
    fn a_lone_socket_gets_every_frame_once() {
        let lists = Arc::new(FreeLists::new(8));
        let local = Local::new(&lists);
        let mut got: Vec<u32> = std::iter::from_fn(|| local.take()).collect();
        assert_eq!(lists.in_flight(0, 0), 8);
        got.sort_unstable();
        assert_eq!(got, (0..8).collect::<Vec<_>>());
        for frame in got {
            local.put(frame);
        }
        assert_eq!((local.len(), lists.in_flight(0, 0)), (2, 0));
    }

    /// Whatever a socket did before, what it does not use is there for one that comes later.
    #[test]
    fn an_idle_socket_does_not_sit_on_the_pool() {
        for frames in [1, 2, 8, 64, 4096] {
            let lists = Arc::new(FreeLists::new(frames));
            let idle = Local::new(&lists);
            let all: Vec<u32> = std::iter::from_fn(|| idle.take()).collect();
            assert_eq!(all.len() as u32, frames);
            all.into_iter().for_each(|frame| idle.put(frame));
            let late = Local::new(&lists);
            let got: Vec<u32> = std::iter::from_fn(|| late.take()).collect();
            assert!(got.len() as u32 >= frames - frames / 4, "{} of {frames}", got.len());
            got.into_iter().for_each(|frame| late.put(frame));
            assert_eq!(lists.in_flight(0, 0), 0);
        }
    }

    #[test]
    fn frames_move_between_sharers() {
        let lists = Arc::new(FreeLists::new(64));
        let (a, b) = (Local::new(&lists), Local::new(&lists));
        // a only takes, b only puts: a forwarder.
        for _ in 0..1000 {
            let frame = a.take().expect("the depot gives back what b spills");
            b.put(frame);
        }
        assert_eq!(lists.in_flight(0, 0), 0);
        drop(b);
        let all: Vec<u32> = std::iter::from_fn(|| a.take()).collect();
        assert_eq!(all.len(), 64);
    }

    #[test]
    fn taking_many_takes_each_once_and_no_more_than_there_are() {
        let lists = Arc::new(FreeLists::new(8));
        let local = Local::new(&lists);
        local.put(local.take().unwrap());
        let mut taken = Vec::new();
        let mut take = |max| local.take_many(max, |frames| taken.extend(frames.iter().map(std::cell::Cell::get)));
        assert_eq!((take(3), take(100), take(1)), (3, 5, 0));
        taken.sort_unstable();
        assert_eq!(taken, (0..8).collect::<Vec<_>>());
        assert_eq!(lists.in_flight(0, 0), 8);
        local.put_many(|put| taken.iter().for_each(|frame| put.push(*frame)));
        assert_eq!(lists.in_flight(0, 0), 0);
        let second = Local::new(&lists);
        assert_eq!(local.take_many(8, |_| {}) + second.take_many(8, |_| {}), 8, "none is lost to a stack that is full");
    }

    #[test]
    fn frames_in_rings_are_not_in_flight() {
        let lists = Arc::new(FreeLists::new(4));
        let local = Local::new(&lists);
        let (x, y) = (local.take().unwrap(), local.take().unwrap());
        local.set_in_rings(1);
        assert_eq!(lists.in_flight(0, 0), 1);
        local.set_in_rings(0);
        local.put(x);
        lists.give_back(y);
        assert_eq!(lists.in_flight(0, 0), 0);
    }

    #[test]
    fn what_comes_home_is_used_again() {
        let lists = Arc::new(FreeLists::new(2));
        let local = Local::new(&lists);
        for _ in 0..100 {
            let frame = local.take().unwrap();
            let lists = lists.clone();
            std::thread::spawn(move || lists.give_back(frame)).join().unwrap();
        }
        assert_eq!(lists.in_flight(0, 0), 0);
    }
}

#[cfg(loom)]
mod model {
    use super::*;

    /// A worker sends a frame home while the socket takes and puts: nothing is lost, nothing comes out twice.
    #[test]
    fn a_release_from_another_thread() {
        loom::model(|| {
            let lists = Arc::new(FreeLists::new(2));
            let local = Local::new(&lists);
            let (a, b) = (local.take().unwrap(), local.take().unwrap());
            assert_ne!(a, b);
            let theirs = lists.clone();
            let worker = loom::thread::spawn(move || theirs.give_back(a));
            local.put(b);
            let first = local.take().unwrap();
            let second = local.take();
            if let Some(second) = second {
                assert_ne!(first, second);
                local.put(second);
            }
            local.put(first);
            worker.join().unwrap();
            assert_eq!(lists.in_flight(0, 0), 0);
            let all: Vec<u32> = std::iter::from_fn(|| local.take()).collect();
            assert_eq!(all.len(), 2);
        });
    }

    /// Two sockets on one pool, each on its own thread, while a third joins and leaves.
    #[test]
    fn sharers_on_two_threads() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(|| {
            let lists = Arc::new(FreeLists::new(3));
            let a = Local::new(&lists);
            let theirs = lists.clone();
            let other = loom::thread::spawn(move || {
                let b = Local::new(&theirs);
                if let Some(frame) = b.take() {
                    b.put(frame);
                }
            });
            let frame = a.take();
            if let Some(frame) = frame {
                a.put(frame);
            }
            other.join().unwrap();
            assert_eq!(lists.in_flight(0, 0), 0);
            let all: Vec<u32> = std::iter::from_fn(|| a.take()).collect();
            assert_eq!(all.len(), 3);
        });
    }
}
