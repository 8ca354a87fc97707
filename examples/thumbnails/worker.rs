//! The worker's role: it does one thing at a time, and may crash.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use ganger_worker::{Context, Failure, ServeError, Worker};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use crate::calls::{Paint, Shrink, Thumbnail};
use crate::picture::{ABORTS, ABORTS_ONCE, sample};

pub(crate) fn serve(mut worker: Worker) -> Result<(), ServeError> {
    worker.on_call(shrink).on_call(paint);
    worker.serve()
}

fn shrink(Shrink { source, target, size }: Shrink, cx: &Context) -> Result<Thumbnail, Failure> {
    let file = fs::read(&source)?;
    crash_like_native_code(&file, cx.attempt());
    let thumbnail = decode(&file)?.thumbnail(size, size);
    let bytes = save(&thumbnail, Path::new(&target))?;
    Ok(Thumbnail { source_bytes: file.len() as u64, bytes })
}

/// Decodes a picture the right way up: cameras say in the file how they were held.
fn decode(file: &[u8]) -> Result<DynamicImage, Failure> {
    let reader = ImageReader::new(Cursor::new(file)).with_guessed_format()?;
    if reader.format().is_none() {
        return Err(Failure::new("its content is not a picture"));
    }
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Saves under another name first: an attempt that dies here leaves no half thumbnail behind.
fn save(thumbnail: &DynamicImage, target: &Path) -> Result<u64, Failure> {
    let mut unfinished = target.as_os_str().to_owned();
    unfinished.push(".unfinished");
    thumbnail.save_with_format(&unfinished, ImageFormat::from_path(target)?)?;
    let bytes = fs::metadata(&unfinished)?.len();
    fs::rename(&unfinished, target)?;
    Ok(bytes)
}

/// Stands for a codec written in another language, which has no panics to catch.
fn crash_like_native_code(file: &[u8], attempt: u16) {
    if file.ends_with(ABORTS) || (file.ends_with(ABORTS_ONCE) && attempt == 1) {
        eprintln!("codec.c:1217: stride is less than width");
        std::process::abort();
    }
}

fn paint(Paint { target, number, flaw }: Paint, _cx: &Context) -> Result<(), Failure> {
    fs::write(&target, sample(number, flaw, Path::new(&target))?)?;
    Ok(())
}
