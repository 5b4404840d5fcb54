//! Named, tuple and unit structs; templates and keys of their own making.

use cacheme::{KeyPart, Node};

#[derive(Node, Clone, Debug)]
#[node(
    key = "user:{user_id}:info",
    value = String,
    version = "v2",
    tier(storage = "local", ttl = "30s"),
    tier(storage = "other", ttl = std::time::Duration::from_secs(60)),
    tier(storage = "third"),
    load_timeout = "1h30m",
    lease = "500ms",
)]
struct UserNode {
    user_id: i64,
}

#[derive(Node, Clone)]
#[node(key = "pair:{0}/{1}", value = (u64, String))]
struct PairNode(u64, &'static str);

#[derive(Node, Clone)]
#[node(key = "config", value = Vec<u8>)]
struct ConfigNode;

#[derive(Node, Clone)]
#[node(value = u8)]
struct UnitNode;

#[derive(Node, Clone)]
#[node(value = u8)]
struct DefaultNode {
    r#type: &'static str,
    at: (i8, Option<bool>),
    #[node(skip)]
    _trace: u64,
}

#[derive(Clone, KeyPart)]
struct OrgId(u64);

#[derive(Clone)]
struct Org {
    id: OrgId,
    ids: (u8, u16),
}

#[derive(Node, Clone)]
#[node(key = "org:{org.id}:{org.ids.1}:{type}:{user}", value = u8)]
struct RawNode {
    org: Org,
    r#type: char,
    user: String,
}

/// Displays itself, and is no `KeyPart`.
#[derive(Clone)]
struct Degrees(f32);

impl std::fmt::Display for Degrees {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0.trunc(), self.0.fract())
    }
}

#[derive(Node, Clone)]
#[node(key = "weather:{at:display}", value = f32, serializer = none, lease = none)]
struct WeatherNode {
    at: Degrees,
}

#[derive(Node, Clone)]
#[node(key = "near:{at:display}/{of.name:display}", value = f32, serializer = none)]
struct NearNode {
    at: Option<Degrees>,
    of: Place,
}

#[derive(Clone)]
struct Place {
    name: Option<&'static str>,
}

const REMOTE: &str = "remote";

struct Storages;

impl Storages {
    const NEAR: &str = "near";
}

#[derive(Node, Clone)]
#[node(
    value = u8,
    tier(storage = Storages::NEAR, ttl = "1s"),
    tier(storage = concat!("fa", "r")),
    tier(storage = REMOTE, ttl = "1s"),
)]
struct ConstNode;

fn main() {
    let near = |at: Option<f32>, name| {
        let (at, of) = (at.map(Degrees), Place { name });
        NearNode { at, of }.key()
    };
    assert_eq!(near(None, Some("~")), "near:~/%7E");
    assert_eq!(near(Some(1.5), None), "near:1%3A0.5/~");
    assert_eq!(near(None, Some("")), "near:~/");
    let tiers = ConstNode.policy().info().tiers.clone();
    let names: Vec<_> = tiers.iter().map(|tier| &*tier.storage).collect();
    assert_eq!(names, ["near", "far", "remote"]);
    assert_eq!(UserNode { user_id: -7 }.key(), "user:-7:info");
    assert_eq!(PairNode(1, "a/b").key(), "pair:1/a%2Fb");
    assert_eq!(ConfigNode.key(), "config");
    assert_eq!(UnitNode.key(), "UnitNode");
    assert_eq!(
        DefaultNode {
            r#type: "x",
            at: (1, None),
            _trace: 1
        }
        .key(),
        "DefaultNode:x:(1,~)"
    );
    let raw = RawNode {
        org: Org {
            id: OrgId(3),
            ids: (1, 2),
        },
        r#type: 'x',
        user: "ann".into(),
    };
    assert_eq!(raw.key(), "org:3:2:x:ann");
    assert_eq!(WeatherNode { at: Degrees(1.5) }.key(), "weather:1%3A0.5");

    let policy = UserNode { user_id: 1 }.policy();
    let info = policy.info();
    assert_eq!(
        (&*info.name, &*info.key, &*info.version),
        ("UserNode", "user:{user_id}:info", "v2")
    );
    let tiers: Vec<_> = info
        .tiers
        .iter()
        .map(|tier| (&*tier.storage, tier.ttl.map(|ttl| ttl.as_secs())))
        .collect();
    assert_eq!(tiers, [("local", Some(30)), ("other", Some(60)), ("third", None)]);
    assert_eq!(info.load_timeout.as_secs(), 5_400);
    assert_eq!(info.lease.map(|lease| lease.as_millis()), Some(500));
    assert_eq!(WeatherNode { at: Degrees(0.0) }.policy().info().lease, None);
}
