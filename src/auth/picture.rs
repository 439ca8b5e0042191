//! The drawing of a picture code, which people read and ready-made OCR does not.

use std::{f32::consts::TAU, ops::Range, sync::LazyLock};

use ab_glyph::{Font, FontRef, PxScale};
use epaint_default_fonts::HACK_REGULAR;
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use rand::RngExt;

/// The characters of a picture code: no two of them look alike, even with a stroke more or less.
pub const ALPHABET: &[u8] = b"ACEHJMRTUX3";

/// From the centre of a character to that of the next one, in pixels.
const STEP: u32 = 46;

/// From the edge of the picture to the centre of the first and of the last character.
const RIM: u32 = 31;
const HEIGHT: u32 = 80;
const QUALITY: u8 = 65;

/// The box of the ink of every character, before its outline is moved outwards by [`GROWTH`].
const GLYPH_WIDTH: f32 = 41.0;
const GLYPH_HEIGHT: f32 = 61.0;
const GROWTH: f32 = 2.0;

/// Draws `text` (4 to 8 characters of [`ALPHABET`]; others stay blank) as a grey JPEG, 80 pixels high and, with 4
/// characters, 200 wide, 46 more for each further one. It has about 1.2 KB a character.
///
/// Each layer exchanges ink and paper where it lies: its edges are as strong as those of the characters and its lines
/// about as wide, so that neither a threshold nor a filter tells them apart.
pub fn draw(text: &str) -> Vec<u8> {
    let mut rng = rand::rng();
    let count = text.len() as u32;
    let mut layers = Layers::new(count.saturating_sub(1) * STEP + 2 * RIM);
    for (at, byte) in (0..).zip(text.bytes()) {
        let centre = ((RIM + at * STEP) as f32, HEIGHT as f32 / 2.0 + rng.random_range(-4.0..4.0));
        if let Some(glyph) = glyph(byte) {
            layers.add_letter(glyph, centre);
        }
        layers.add_ring(centre);
    }
    layers.add_wave_across();
    for at in 0..count / 2 {
        layers.add_upright_wave((RIM + at * 2 * STEP) as f32..(RIM + (at * 2 + 1) * STEP) as f32);
    }
    layers.jpeg()
}

/// How much ink each pixel has, from 0 to 1, row by row.
struct Layers {
    width: u32,
    ink: Vec<f32>,
}

impl Layers {
    fn new(width: u32) -> Self {
        Self { width, ink: vec![0.0; (width * HEIGHT) as usize] }
    }

    /// Exchanges ink and paper within a shape that lies within `reach` pixels of `centre`. `depth` is how many pixels a
    /// point, given from the centre, lies within the edge.
    fn add(&mut self, centre: (f32, f32), reach: f32, depth: impl Fn(f32, f32) -> f32) {
        let pixels = |centre: f32, size: u32| (centre - reach).max(0.0) as u32..((centre + reach) as u32 + 1).min(size);
        for y in pixels(centre.1, HEIGHT) {
            for x in pixels(centre.0, self.width) {
                let layer = (depth(x as f32 - centre.0, y as f32 - centre.1) + 0.5).clamp(0.0, 1.0);
                let ink = &mut self.ink[(y * self.width + x) as usize];
                *ink += layer - 2.0 * *ink * layer;
            }
        }
    }

    fn add_letter(&mut self, glyph: &'static Glyph, centre: (f32, f32)) {
        let mut rng = rand::rng();
        let (wide, high) = (rng.random_range(0.95..1.05), rng.random_range(0.9..1.05));
        let (sin, cos) = rng.random_range(-0.25f32..0.25).sin_cos();
        self.add(centre, 44.0, |x, y| glyph.depth((x * cos + y * sin) / wide, (y * cos - x * sin) / high));
    }

    /// An uneven ring around a point above or below the centre of a letter.
    fn add_ring(&mut self, letter: (f32, f32)) {
        let mut rng = rand::rng();
        let (a, b) = (rng.random_range(18.0..25.0f32), rng.random_range(18.0..25.0f32));
        let half = rng.random_range(4.6..5.4) / 2.0;
        let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
        let up = if rng.random() { -1.0 } else { 1.0 };
        let centre = (letter.0 + rng.random_range(-8.0..8.0), letter.1 + up * rng.random_range(6.0..16.0));
        self.add(centre, 36.0, |x, y| {
            let (x, y) = (x / a, y / b);
            let radius = (x * x + y * y).sqrt().max(0.01);
            // The cosine of twice the angle, less a phase.
            let wobble = ((x * x - y * y) * cos + 2.0 * x * y * sin) / (radius * radius);
            let slope = ((x / a) * (x / a) + (y / b) * (y / b)).sqrt() / radius;
            half - (radius - 1.0 - 0.12 * wobble).abs() / slope
        });
    }

    fn add_wave_across(&mut self) {
        let wave = Wave::random(35.0..45.0);
        let points: Vec<_> = (0..self.width).map(|x| wave.at(x)).collect();
        self.add((0.0, 0.0), self.width as f32, |x, y| {
            let (level, length) = points[x as usize];
            (y - level) / length
        });
    }

    fn add_upright_wave(&mut self, level: Range<f32>) {
        let wave = Wave::random(level);
        let points: Vec<_> = (0..HEIGHT).map(|y| wave.at(y)).collect();
        self.add((0.0, 0.0), self.width as f32, |x, y| {
            let (level, length) = points[y as usize];
            (x - level) / length
        });
    }

    fn jpeg(self) -> Vec<u8> {
        let grey: Vec<_> = self.ink.into_iter().map(|ink| (235.0 - 190.0 * ink) as u8).collect();
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
            .encode(&grey, self.width, HEIGHT, ExtendedColorType::L8)
            .expect("memory takes a grey picture");
        jpeg
    }
}

/// A sine curve of random shape.
struct Wave {
    height: f32,
    turn: f32,
    phase: f32,
    level: f32,
}

impl Wave {
    fn random(level: Range<f32>) -> Self {
        let mut rng = rand::rng();
        Self {
            height: rng.random_range(8.0..14.0),
            turn: TAU / rng.random_range(60.0..110.0),
            phase: rng.random_range(0.0..TAU),
            level: rng.random_range(level),
        }
    }

    /// Where the curve is, and how much longer than a level line: dividing by it makes steep parts as sharp as others.
    fn at(&self, along: u32) -> (f32, f32) {
        let (sin, cos) = (along as f32 * self.turn + self.phase).sin_cos();
        (self.level + self.height * sin, (self.height * self.turn * cos).hypot(1.0))
    }
}

/// The upright shape of a character: for each pixel, how far it lies within the grown outline.
struct Glyph(Vec<f32>);

impl Glyph {
    /// Room for the growth, and for a soft edge around it.
    const RIM: usize = GROWTH as usize + 3;
    const WIDTH: usize = GLYPH_WIDTH as usize + 2 * Self::RIM;
    const HEIGHT: usize = GLYPH_HEIGHT as usize + 2 * Self::RIM;

    fn new(font: &FontRef<'_>, character: char) -> Self {
        let id = font.glyph_id(character);
        let bounds = font.outline(id).expect("the font has every character of the alphabet").bounds;
        let scale = |ink: f32, units: f32| ink / units.abs() * font.height_unscaled();
        let scale = PxScale { x: scale(GLYPH_WIDTH, bounds.width()), y: scale(GLYPH_HEIGHT, bounds.height()) };
        let outline = font.outline_glyph(id.with_scale(scale)).expect("it has an outline in every size");
        // The rasterizer leaves traces of ink where there is none.
        let mut inked = Vec::new();
        outline.draw(|x, y, share| {
            if share > 0.01 {
                inked.push((x as usize + Self::RIM, y as usize + Self::RIM, share.min(1.0)));
            }
        });
        let mut depths = vec![-1.0f32; Self::WIDTH * Self::HEIGHT];
        for (x, y, share) in inked {
            for near_y in y - 3..=y + 3 {
                for near_x in x - 3..=x + 3 {
                    let distance = (near_x as f32 - x as f32).hypot(near_y as f32 - y as f32);
                    // From the centre of a pixel it is as far to the edge in it as from its share of ink to one half.
                    let depth = share - 0.5 + GROWTH - distance;
                    let known = &mut depths[near_y * Self::WIDTH + near_x];
                    *known = known.max(depth);
                }
            }
        }
        Self(depths)
    }

    /// Between the pixels around a point, given from the centre of the shape.
    fn depth(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (x + (Self::WIDTH as f32 - 1.0) / 2.0, y + (Self::HEIGHT as f32 - 1.0) / 2.0);
        if x < 0.0 || y < 0.0 || x >= Self::WIDTH as f32 - 1.0 || y >= Self::HEIGHT as f32 - 1.0 {
            return -1.0;
        }
        let (column, line) = (x as usize, y as usize);
        let (share_x, share_y) = (x - column as f32, y - line as f32);
        let at = line * Self::WIDTH + column;
        let row = |at: usize| self.0[at] + share_x * (self.0[at + 1] - self.0[at]);
        let (above, below) = (row(at), row(at + Self::WIDTH));
        above + share_y * (below - above)
    }
}

/// The shape of a character of [`ALPHABET`], drawn once.
fn glyph(byte: u8) -> Option<&'static Glyph> {
    static GLYPHS: LazyLock<Vec<Glyph>> = LazyLock::new(|| {
        let font = FontRef::try_from_slice(HACK_REGULAR).expect("the font is embedded");
        ALPHABET.iter().map(|&byte| Glyph::new(&font, char::from(byte))).collect()
    });
    GLYPHS.get(ALPHABET.iter().position(|&known| known == byte)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_every_length_is_a_small_jpeg_with_room_for_each_character() {
        for length in 4..=8 {
            for start in 0..ALPHABET.len() {
                let text: String =
                    (0..length).map(|at| char::from(ALPHABET[(start + at * 5) % ALPHABET.len()])).collect();
                let jpeg = draw(&text);
                let picture = image::load_from_memory(&jpeg).unwrap();
                assert_eq!((picture.width(), picture.height()), (16 + 46 * length as u32, 80));
                assert!(jpeg.len() < 1_400 * length, "{text}: {} bytes", jpeg.len());
            }
        }
    }

    #[test]
    fn the_same_code_is_never_drawn_twice_alike() {
        assert_ne!(draw("AC3X"), draw("AC3X"));
    }

    #[test]
    fn every_character_fills_its_box_and_is_unlike_every_other() {
        let inked = |&byte: &u8| glyph(byte).unwrap().0.iter().map(|&depth| depth > 0.0).collect::<Vec<_>>();
        let shapes: Vec<_> = ALPHABET.iter().map(inked).collect();
        for (at, shape) in shapes.iter().enumerate() {
            let name = char::from(ALPHABET[at]);
            let columns = (0..Glyph::WIDTH).filter(|x| shape.iter().skip(*x).step_by(Glyph::WIDTH).any(|&ink| ink));
            let rows = shape.chunks(Glyph::WIDTH).filter(|row| row.contains(&true));
            assert!((44..=46).contains(&columns.count()), "{name}");
            assert!((64..=66).contains(&rows.count()), "{name}");
            let ink = shape.iter().filter(|&&ink| ink).count();
            assert!((800..2_300).contains(&ink), "{name}: {ink} pixels of ink");
            for (other, other_shape) in shapes.iter().enumerate().take(at) {
                let apart = shape.iter().zip(other_shape).filter(|(ink, other)| ink != other).count();
                assert!(apart > 350, "{name} and {}: {apart} pixels apart", char::from(ALPHABET[other]));
            }
        }
    }
}
