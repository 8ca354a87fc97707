//! Sample pictures: an evening sky, a sun, two ranges of hills, each with colours of its own.

use std::io::Cursor;
use std::path::Path;

use image::{ImageError, ImageFormat, Rgb, RgbImage};

use crate::calls::Flaw;

/// Small in a debug build, where codecs are many times slower.
const WIDTH: u32 = if cfg!(debug_assertions) { 240 } else { 720 };
const HEIGHT: u32 = WIDTH * 2 / 3;
const SUN: f32 = WIDTH as f32 / 16.0;

/// At the end of a file, it stands for a picture on which a native codec aborts.
pub(crate) const ABORTS: &[u8] = b"a sample that aborts its reader";
/// As [`ABORTS`], but only in the first attempt.
pub(crate) const ABORTS_ONCE: &[u8] = b"a sample that aborts its first reader";

/// The content of a sample file in the format that its name asks for.
pub(crate) fn sample(number: u32, flaw: Flaw, name: &Path) -> Result<Vec<u8>, ImageError> {
    let mut file = Cursor::new(Vec::new());
    paint(number).write_to(&mut file, ImageFormat::from_path(name)?)?;
    Ok(spoil(file.into_inner(), flaw))
}

fn spoil(mut file: Vec<u8>, flaw: Flaw) -> Vec<u8> {
    match flaw {
        Flaw::None => {}
        Flaw::Truncated => file.truncate(file.len() / 3),
        Flaw::NotAPicture => file = b"Dear diary, today I was renamed to .png.\n".to_vec(),
        Flaw::Aborts => file.extend_from_slice(ABORTS),
        Flaw::AbortsOnce => file.extend_from_slice(ABORTS_ONCE),
    }
    file
}

fn paint(number: u32) -> RgbImage {
    let hue = number as f32 * 0.618_034; // the golden ratio spreads colours well
    let (zenith, horizon) = (colour(hue, 0.35), colour(hue + 0.12, 0.95));
    let ridges = [ridge(number, 0.72, 7.0), ridge(number + 1, 0.84, 13.0)];
    let (sun_x, sun_y) =
        (WIDTH as f32 * (hue * 3.0).fract(), HEIGHT as f32 * (0.3 + 0.3 * (hue * 5.0).fract()));
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let (across, down) = (x as f32, y as f32);
        if down > ridges[1][x as usize] {
            return Rgb(mix(zenith, [0.02; 3], 0.85));
        }
        if down > ridges[0][x as usize] {
            return Rgb(mix(zenith, [0.05; 3], 0.6));
        }
        if (across - sun_x).powi(2) + (down - sun_y).powi(2) < SUN * SUN {
            return Rgb(mix(horizon, [1.0; 3], 0.7));
        }
        Rgb(mix(zenith, horizon, down / HEIGHT as f32))
    })
}

/// For each column, the row where a range of hills begins.
fn ridge(number: u32, middle: f32, waves: f32) -> Vec<f32> {
    let phase = number as f32;
    let height = |x: u32| {
        let along = x as f32 / WIDTH as f32 * waves;
        HEIGHT as f32 * (middle + 0.06 * (along + phase).sin() + 0.03 * (along * 2.3 - phase).sin())
    };
    (0..WIDTH).map(height).collect()
}

fn colour(hue: f32, brightness: f32) -> [f32; 3] {
    [0.0, 1.0 / 3.0, 2.0 / 3.0]
        .map(|shift| brightness * (0.55 + 0.45 * (std::f32::consts::TAU * (hue + shift)).cos()))
}

fn mix(from: [f32; 3], to: [f32; 3], share: f32) -> [u8; 3] {
    std::array::from_fn(|channel| ((from[channel] * (1.0 - share) + to[channel] * share) * 255.0) as u8)
}
