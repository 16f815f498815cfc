use super::*;
use crate::stack::random::Random;
use std::net::Ipv4Addr;

/// Random binds, connects and closes against a list that is searched in full.
#[test]
fn random_tables_find_what_a_linear_search_finds() {
    #[derive(Clone, Copy)]
    struct Model {
        local: SocketAddr,
        share: bool,
        peer: Option<(IpAddr, SocketAddr)>,
    }
    let mut random = Random(99);
    let address = |n: u64| IpAddr::V4(if n == 0 { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::new(10, 0, 0, n as u8) });
    for _ in 0..50 {
        let mut bindings = Bindings::new([3, 4]);
        let mut model: Vec<Option<Model>> = Vec::new();
        for _ in 0..300 {
            match random.below(4) {
                0 | 1 => {
                    let local = SocketAddr::new(address(random.below(3)), random.below(4) as u16);
                    let share = random.below(2) == 0;
                    let taken = model.iter().flatten().any(|other| {
                        other.local.port() == local.port()
                            && (other.local.ip() == local.ip()
                                || other.local.ip().is_unspecified()
                                || local.ip().is_unspecified())
                            && !(other.share && share)
                    });
                    assert_eq!(bindings.is_taken(local, share), taken);
                    if !taken {
                        bindings.bind(local, share, model.len() as u32);
                        model.push(Some(Model { local, share, peer: None }));
                    }
                }
                2 => {
                    let index = random.below(model.len().max(1) as u64) as usize;
                    let Some(Some(socket)) = model.get(index).copied() else { continue };
                    if let Some((local, remote)) = socket.peer {
                        bindings.disconnect(socket.local, local, remote, index as u32);
                        model[index] = Some(Model { peer: None, ..socket });
                        continue;
                    }
                    let local = if socket.local.ip().is_unspecified() { address(1) } else { socket.local.ip() };
                    let remote = SocketAddr::new(address(9), random.below(3) as u16);
                    let pair = |other: &Model| {
                        other.local.port() == socket.local.port() && other.peer == Some((local, remote))
                    };
                    let taken = model.iter().flatten().any(pair);
                    assert_eq!(bindings.connect(socket.local, local, remote, index as u32).is_err(), taken);
                    if !taken {
                        model[index] = Some(Model { peer: Some((local, remote)), ..socket });
                    }
                }
                _ => {
                    let index = random.below(model.len().max(1) as u64) as usize;
                    let Some(Some(socket)) = model.get(index).copied() else { continue };
                    if let Some((local, remote)) = socket.peer {
                        bindings.disconnect(socket.local, local, remote, index as u32);
                    }
                    bindings.unbind(socket.local, index as u32);
                    model[index] = None;
                }
            }
            let (local, port) = (address(1 + random.below(2)), random.below(4) as u16);
            let remote = SocketAddr::new(address(9), random.below(3) as u16);
            let broadcast = random.below(4) == 0;
            let fits = |socket: &Option<Model>, rank: u8| {
                socket.is_some_and(|socket| {
                    socket.local.port() == port
                        && match rank {
                            0 => socket.peer == Some((local, remote)),
                            1 => socket.peer.is_none() && socket.local.ip() == local && !broadcast,
                            _ => socket.peer.is_none() && socket.local.ip().is_unspecified(),
                        }
                })
            };
            let rank = (0..3).find(|rank| model.iter().any(|socket| fits(socket, *rank)));
            let found = bindings.find(local, port, remote, broadcast);
            match (found, rank) {
                (None, None) => {}
                (Some(found), Some(rank)) => assert!(fits(&model[found as usize], rank)),
                _ => panic!("{found:?} {rank:?}"),
            }
        }
    }
}
