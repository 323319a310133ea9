//! Tables and archives that serve as seeds.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{Cursor, Error, Write};
use tar::{Builder, EntryType, Header};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const TABLES: [&str; 8] = [
    "path,label,split\na.jpg,cat,train\n\"b, c.jpg\",dog,\nv.jpg,cat,val\nt.jpg,dog,test\n",
    "\u{feff}Split\tImage\tclass\r\ntraining\tb/1.jpg\tdog\r\n\t\"a \"\"2\"\".jpg\"\tcat\r\n",
    "{\"path\": \"a.jpg\", \"label\": \"cat\"}\n{\"file_name\": \"b.jpg\", \"class\": 3, \
     \"fold\": null}\n",
    "filename, cat, dog\na.jpg, 0, 1\nb.jpg, 1.0, 0.0\n",
    "sep=;\r\npath;label;is_valid\r\n a.jpg ;x;0\r\n\"b.jpg \";\"y\ny\";1\r\n",
    "path,caption,label\ra,\"one\r\ntwo\",nan\rb,\"\",0\rc,x,0.0\r",
    "[{\"id\": 1, \"annotations\": [], \"data\": {\"image\": \"a.jpg\"}}]",
    "a.jpg\n b.jpg\r\nc.jpg",
];

/// Tables of every kind.
pub fn tables() -> Vec<Vec<u8>> {
    TABLES.map(|table| table.as_bytes().to_vec()).into()
}

/// ZIP and tar archives.
pub fn archives() -> Result<Vec<Vec<u8>>, Error> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [("p/a/1.jpg", &[7; 300][..]), ("p/b/2.jpg", b"two"), ("p/../b", b"x")] {
        zip.start_file(name, SimpleFileOptions::default())?;
        zip.write_all(content)?;
    }
    zip.add_directory("p/c", SimpleFileOptions::default())?;
    let tar = tar_archive()?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&tar)?;
    Ok(vec![zip.finish()?.into_inner(), tar, packed.finish()?])
}

fn tar_archive() -> Result<Vec<u8>, Error> {
    let mut tar = Builder::new(Vec::new());
    let header = |kind, size| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header
    };
    let long = format!("{}1.jpg", "long/".repeat(30));
    tar.append_data(&mut header(EntryType::Directory, 0), "p/", &b""[..])?;
    tar.append_data(&mut header(EntryType::Regular, 300), "p/a/1.jpg", &[7; 300][..])?;
    tar.append_data(&mut header(EntryType::Regular, 3), &long, &b"two"[..])?;
    tar.append_pax_extensions([("path", &b"p/pax.jpg"[..]), ("size", b"3")])?;
    tar.append_data(&mut header(EntryType::Regular, 3), "p/x", &b"pax"[..])?;
    tar.append_link(&mut header(EntryType::Symlink, 0), "p/link", "/etc")?;
    let mut sparse = header(EntryType::GNUSparse, 3);
    sparse.set_path("p/sparse")?;
    if let Some(gnu) = sparse.as_gnu_mut() {
        gnu.sparse[0].offset[..11].copy_from_slice(b"00000000141");
        gnu.sparse[0].numbytes[..11].copy_from_slice(b"00000000003");
        gnu.realsize[..11].copy_from_slice(b"00000000144");
    }
    sparse.set_cksum();
    tar.append(&sparse, &b"end"[..])?;
    tar.into_inner()
}

/// Corrects the checksums of all headers of a tar archive, so that changes in the headers are read.
pub fn mend_tar(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { u32::from(byte) })
            .sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
