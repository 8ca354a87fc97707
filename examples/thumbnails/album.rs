//! The pictures to be shrunk and where their thumbnails go.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use image::ImageFormat;

use crate::calls::{Flaw, Paint, Shrink};

/// A folder of pictures.
pub(crate) struct Album {
    /// Their file names.
    pub(crate) pictures: Vec<PathBuf>,
    folder: PathBuf,
    out: PathBuf,
}

/// A folder that cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AlbumError {
    #[error("the folder {} cannot be {action}: {source}", folder.display())]
    Folder { folder: PathBuf, action: &'static str, source: io::Error },
    #[error(
        "the folder {} has no pictures: no file in it has a name that ends in {}",
        folder.display(),
        endings().join(", ")
    )]
    Empty { folder: PathBuf },
    #[error("the thumbnails would replace the pictures themselves in {}; give another folder with --out", folder.display())]
    Same { folder: PathBuf },
}

impl Album {
    /// The pictures that are in `folder` by their names; their thumbnails go to `out`, which is made if need be.
    pub(crate) fn open(folder: &Path, out: &Path) -> Result<Album, AlbumError> {
        let pictures = pictures_in(folder).map_err(failed("read", folder))?;
        if pictures.is_empty() {
            return Err(AlbumError::Empty { folder: folder.to_owned() });
        }
        fs::create_dir_all(out).map_err(failed("made", out))?;
        if fs::canonicalize(out).ok() == fs::canonicalize(folder).ok() {
            return Err(AlbumError::Same { folder: folder.to_owned() });
        }
        Ok(Album { pictures, folder: folder.to_owned(), out: out.to_owned() })
    }

    pub(crate) fn name(&self, place: usize) -> String {
        self.pictures[place].display().to_string()
    }

    pub(crate) fn shrink(&self, place: usize, size: u32) -> Shrink {
        let name = &self.pictures[place];
        Shrink { source: self.folder.join(name).into(), target: self.out.join(name).into(), size }
    }

    pub(crate) fn out(&self) -> &Path {
        &self.out
    }
}

fn pictures_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut pictures = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_picture(&entry.file_name()) && entry.path().is_file() {
            pictures.push(PathBuf::from(entry.file_name()));
        }
    }
    pictures.sort();
    Ok(pictures)
}

fn failed(action: &'static str, folder: &Path) -> impl FnOnce(io::Error) -> AlbumError {
    move |source| AlbumError::Folder { folder: folder.to_owned(), action, source }
}

/// The formats that can be read and written.
fn formats() -> impl Iterator<Item = ImageFormat> {
    ImageFormat::all().filter(|format| format.reading_enabled() && format.writing_enabled())
}

fn endings() -> Vec<&'static str> {
    formats().flat_map(|format| format.extensions_str()).copied().collect()
}

fn is_picture(name: &OsStr) -> bool {
    ImageFormat::from_path(name).is_ok_and(|format| formats().any(|known| known == format))
}

/// A folder for samples that goes away with this value, unless it is to be kept.
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
    is_kept: bool,
}

impl Scratch {
    /// What becomes of the samples.
    pub(crate) fn fate(&self) -> String {
        let path = self.path.display();
        match self.is_kept {
            true => format!("The samples are kept in {path}."),
            false => {
                format!("The samples in {path} are removed now, with all that is in it; --keep keeps them.")
            }
        }
    }

    pub(crate) fn new(keep: Keep) -> Result<Scratch, AlbumError> {
        let path = std::env::temp_dir().join(format!("thumbnails-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(failed("made", &path))?;
        Ok(Scratch { path, is_kept: keep == Keep::Yes })
    }
}

/// Whether the samples outlive the program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Yes,
    No,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("the samples in {} could not be removed: {error}", self.path.display());
        }
    }
}

/// Samples that are spoiled, and how.
pub(crate) const SPOILED: [(&str, Flaw); 8] = [
    ("corrupt-1.png", Flaw::Truncated),
    ("corrupt-2.png", Flaw::Truncated),
    ("corrupt-3.gif", Flaw::Truncated),
    ("corrupt-4.webp", Flaw::Truncated),
    ("diary.png", Flaw::NotAPicture),
    ("fragile-1.jpg", Flaw::Aborts),
    ("fragile-2.jpg", Flaw::Aborts),
    ("hiccup.jpg", Flaw::AbortsOnce),
];

/// What to paint: `good` pictures and the spoiled ones.
pub(crate) fn samples(folder: &Path, good: u32) -> Vec<Paint> {
    let skies = (0..good).map(|number| {
        // By these names the spoiled ones come in the middle.
        let time = if number < good / 2 { "dawn" } else { "sunset" };
        let extension = if number % 4 == 0 { "png" } else { "jpg" };
        (format!("{time}-{number:03}.{extension}"), Flaw::None)
    });
    let spoiled = SPOILED.iter().map(|(name, flaw)| (String::from(*name), *flaw));
    skies
        .chain(spoiled)
        .zip(0..)
        .map(|((name, flaw), number)| Paint { target: folder.join(name).into(), number, flaw })
        .collect()
}
