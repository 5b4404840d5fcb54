use cacheme::KeyPart;

#[derive(KeyPart, Clone, Copy)]
union Bits {
    int: u32,
    float: f32,
}

fn main() {}
