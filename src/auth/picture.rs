//! How is a picture code drawn so that people read it and OCR does not?

use std::{f32::consts::TAU, ops::Range, sync::LazyLock};

use ab_glyph::{Font, FontRef};
use epaint_default_fonts::HACK_REGULAR;
use image::{GrayImage, Luma, codecs::jpeg::JpegEncoder, imageops};
use rand::RngExt;

/// The characters of a picture code: no two of them look alike, even when a curve adds a stroke as from F to E.
pub const ALPHABET: &[u8] = b"ACDEHJKMRTUXY34679";

const WIDTH: u32 = 160;
const HEIGHT: u32 = 60;
const QUALITY: u8 = 65;

/// Makes capitals of some 34 pixels.
const FONT_SIZE: f32 = 54.0;

/// Draws `text` (4 to 8 characters of [`ALPHABET`]; others stay blank) as a JPEG of 160×60 pixels, under 10 KB.
pub fn draw(text: &str) -> Vec<u8> {
    let glyphs: Vec<_> = text.bytes().filter_map(glyph).collect();
    let width = glyphs.iter().map(|glyph| glyph.width()).sum::<u32>() as f32;
    let size = (WIDTH as f32 - 12.0) / width.max(120.0);
    let mut left = (WIDTH as f32 - size * width) / 2.0;
    let mut letters = Vec::new();
    for glyph in glyphs {
        letters.push(Letter::place(glyph, left, size));
        left += size * glyph.width() as f32;
    }
    // Bending the whole line leaves no baseline, the first thing that OCR looks for.
    let bend_x = Wave::random(1.0..2.0, 25.0..40.0, 0.0..0.1);
    let bend_y = Wave::random(1.5..3.0, 45.0..80.0, 0.0..0.1);
    // A curve in the ink of the letters joins them: no colour filter takes it away.
    let curve = Wave::random(5.0..12.0, 90.0..180.0, 18.0..42.0);
    // Ink and paper change places across a wave: no one threshold separates them.
    let flip = Wave::random(8.0..14.0, 60.0..110.0, 26.0..34.0);

    let picture = GrayImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let (bent_x, bent_y) = (x as f32 + bend_x.at(y), y as f32 + bend_y.at(x));
        let letter = letters.iter().fold(0.0, |ink, letter| letter.ink(bent_x, bent_y).max(ink));
        let ink = (1.2 - curve.distance(x, y).abs()).clamp(0.0, 1.0).max(letter);
        let flipped = (flip.distance(x, y) + 0.5).clamp(0.0, 1.0);
        Luma([(235.0 - 190.0 * (ink + flipped - 2.0 * ink * flipped)) as u8])
    });

    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&picture).expect("memory takes a grey picture");
    jpeg
}

/// A sine curve of random shape: for every x, its y and how much longer it is there than a level line.
struct Wave(Vec<(f32, f32)>);

impl Wave {
    fn random(height: Range<f32>, length: Range<f32>, level: Range<f32>) -> Self {
        let mut rng = rand::rng();
        let (height, level) = (rng.random_range(height), rng.random_range(level));
        let (turn, phase) = (TAU / rng.random_range(length), rng.random_range(0.0..TAU));
        let point = |x| {
            let (sin, cos) = (x as f32 * turn + phase).sin_cos();
            (level + height * sin, (height * turn * cos).hypot(1.0))
        };
        Self((0..WIDTH).map(point).collect())
    }

    fn at(&self, x: u32) -> f32 {
        self.0[x as usize].0
    }

    /// How far below the curve a point lies, measured across the curve, so that steep parts are no thinner.
    fn distance(&self, x: u32, y: u32) -> f32 {
        let (level, length) = self.0[x as usize];
        (y as f32 - level) / length
    }
}

/// One character, turned and resized around its centre.
struct Letter {
    glyph: &'static GrayImage,
    centre: (f32, f32),
    across: (f32, f32),
    down: (f32, f32),
}

impl Letter {
    fn place(glyph: &'static GrayImage, left: f32, size: f32) -> Self {
        let mut rng = rand::rng();
        let x = left + size * glyph.width() as f32 / 2.0;
        let y = HEIGHT as f32 / 2.0 + rng.random_range(-4.0..4.0);
        // Neighbours touch once they are turned, and OCR cannot cut between them.
        let wide = size * rng.random_range(0.95..1.05);
        let high = (size * 1.3).min(1.25) * rng.random_range(0.9..1.05);
        let (sin, cos) = rng.random_range(-0.25f32..0.25).sin_cos();
        let (across, down) = ((cos / wide, sin / wide), (-sin / high, cos / high));
        Self { glyph, centre: (x, y), across, down }
    }

    /// How much ink the letter leaves at a point, from 0 to 1.
    fn ink(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - self.centre.0, y - self.centre.1);
        if dx.abs() > 36.0 {
            return 0.0; // Most letters are far away, and this halves the time of a picture.
        }
        let column = self.glyph.width() as f32 / 2.0 + self.across.0 * dx + self.across.1 * dy;
        let row = self.glyph.height() as f32 / 2.0 + self.down.0 * dx + self.down.1 * dy;
        imageops::interpolate_bilinear(self.glyph, column, row).map_or(0.0, |ink| f32::from(ink[0]) / 255.0)
    }
}

/// The upright shape of a character of [`ALPHABET`], drawn once.
fn glyph(byte: u8) -> Option<&'static GrayImage> {
    static GLYPHS: LazyLock<Vec<GrayImage>> = LazyLock::new(|| {
        let font = FontRef::try_from_slice(HACK_REGULAR).expect("the font is embedded");
        ALPHABET.iter().map(|&byte| shape(&font, char::from(byte))).collect()
    });
    GLYPHS.get(ALPHABET.iter().position(|&known| known == byte)?)
}

/// A character as wide and high as its ink, with a blank rim that makes its edges smooth.
fn shape(font: &FontRef<'_>, character: char) -> GrayImage {
    let glyph = font.glyph_id(character).with_scale(FONT_SIZE);
    let outline = font.outline_glyph(glyph).expect("the font has every character of the alphabet");
    let bounds = outline.px_bounds();
    let mut ink = GrayImage::new(bounds.width() as u32 + 2, bounds.height() as u32 + 2);
    outline.draw(|x, y, share| ink.put_pixel(x + 1, y + 1, Luma([(255.0 * share.min(1.0)) as u8])));
    ink
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_every_length_is_a_jpeg_under_10_kb() {
        for length in 4..=8 {
            for start in 0..50 {
                let text: String =
                    (0..length).map(|at| char::from(ALPHABET[(start + at * 5) % ALPHABET.len()])).collect();
                let jpeg = draw(&text);
                assert!(jpeg.starts_with(&[0xFF, 0xD8, 0xFF]) && jpeg.ends_with(&[0xFF, 0xD9]));
                assert!(jpeg.len() < 10_000, "{text}: {} bytes", jpeg.len());
            }
        }
    }

    #[test]
    fn the_same_code_is_never_drawn_twice_alike() {
        assert_ne!(draw("AC3K"), draw("AC3K"));
    }
}
