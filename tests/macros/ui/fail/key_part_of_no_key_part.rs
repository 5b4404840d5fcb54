use cacheme::KeyPart;

#[derive(KeyPart)]
struct Place {
    name: String,
    x: f64,
}

#[derive(KeyPart)]
enum Spot {
    Here,
    At(f32),
}

#[derive(KeyPart)]
struct Distance(f64);

fn main() {}
