//! Sessions that are taken up again.

use super::*;

/// Connects again and again. Which of the connections were resumptions.
fn resumed(client: &Rc<Settings>, server: &Rc<Settings>, times: usize) -> Vec<bool> {
    let once = || {
        let (mut client, mut server) = shaken(client, server, "localhost");
        assert_connected(&mut client, &mut server);
        assert_eq!(client.session.resumed(), server.session.resumed());
        client.session.resumed()
    };
    (0..times).map(|_| once()).collect()
}

#[test]
fn a_client_comes_back() {
    let world = World::new();
    for low in [false, true] {
        let low = |options| SocketContextOptions { ssl_prefer_low_memory_usage: low, ..options };
        let server = load(&low(world.server(&["localhost"])));
        for list in ["ALL", &options::only12("ALL")] {
            let client = load(&low(SocketContextOptions { ssl_ciphers: Some(list.into()), ..world.client() }));
            assert_eq!(resumed(&client, &server, 5), [false, true, true, true, true], "{list}");
            // Another context knows nothing of it, on neither side.
            let stranger = load(&SocketContextOptions { ssl_ciphers: Some(list.into()), ..world.client() });
            assert_eq!(resumed(&stranger, &server, 2), [false, true]);
            let other = load(&low(world.server(&["localhost"])));
            assert_eq!(resumed(&client, &other, 2), [false, true]);
        }
    }
}

#[test]
fn another_loop_with_the_same_certificate_knows_the_client() {
    let world = World::new();
    let authority = Authority::new("clients");
    let options = world.server(&["localhost"]);
    let asks = SocketContextOptions {
        ca_file_name: Some(world.folder.file("clients.pem", authority.pem())),
        ..options.clone()
    };
    let demands = SocketContextOptions { require_client_cert: true, ..asks.clone() };
    let me = SocketContextOptions {
        ca_file_name: Some(world.roots.clone()),
        ..world.shows("me", &authority.issue_to_client("me"))
    };
    for list in ["ALL", &options::only12("ALL")] {
        let client = load(&SocketContextOptions { ssl_ciphers: Some(list.into()), ..me.clone() });
        let first = load(&options);
        assert_eq!(resumed(&client, &first, 1), [false]);
        assert_eq!(resumed(&client, &load(&options), 1), [true]);
        // One that wants to know who its clients are does not take the word of one that does not.
        assert_eq!(resumed(&client, &load(&asks), 1), [false]);
        assert_eq!(resumed(&client, &load(&demands), 1), [false]);
        // With the last server of its kind the keys are gone.
        let again = load(&SocketContextOptions { ssl_ciphers: Some(list.into()), ..me.clone() });
        assert_eq!(resumed(&again, &first, 2), [false, true]);
        drop(first);
        assert_eq!(resumed(&again, &load(&options), 1), [false]);
    }
}

#[test]
fn a_session_is_the_names_to_which_it_belongs() {
    let world = World::new();
    let settings = load(&SocketContextOptions::default());
    for name in ["one.test", "two.test"] {
        settings.add_server_name(name, &world.server(&[name, "localhost"])).unwrap();
    }
    let client = load(&world.client());
    for (name, again) in [("one.test", false), ("two.test", false), ("one.test", true), ("two.test", true)] {
        let (mut client, mut server) = shaken(&client, &settings, name);
        assert_connected(&mut client, &mut server);
        assert_eq!(server.session.resumed(), again, "{name}");
    }
}

#[test]
fn a_client_that_showed_a_certificate_shows_it_still() {
    let world = World::new();
    let authority = Authority::new("clients");
    let clients = world.folder.file("clients.pem", authority.pem());
    let server = SocketContextOptions { ca_file_name: Some(clients), ..world.server(&["localhost"]) };
    let server = load(&SocketContextOptions { require_client_cert: true, ..server });
    let me = world.shows("me", &authority.issue_to_client("me"));
    let client = load(&SocketContextOptions { ca_file_name: Some(world.roots.clone()), ..me });
    let mut shown = Vec::new();
    for again in [false, true, true] {
        let (mut client, mut server) = shaken(&client, &server, "localhost");
        assert_connected(&mut client, &mut server);
        assert_eq!(server.session.resumed(), again);
        shown.push(server.session.peer_certificate().map(<[u8]>::to_vec));
    }
    assert!(shown[0].is_some() && shown[0] == shown[1] && shown[1] == shown[2]);
}
