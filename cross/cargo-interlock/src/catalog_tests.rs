//! Compares catalogs with the output of Microsoft's own tools, and with the files that they list.

use super::*;
use crate::sample;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    let bytes = digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]));
    bytes.collect::<Result<_, _>>().unwrap()
}

/// Returns the values of a member's attributes of one type.
fn values(subject: &TrustedSubject, oid: ObjectIdentifier) -> Vec<Vec<u8>> {
    let attributes = subject
        .attributes
        .iter()
        .filter(|attribute| attribute.oid == oid);
    let values = attributes.flat_map(|attribute| attribute.values.iter());
    values.map(|value| value.to_der().unwrap()).collect()
}

/// Returns the members of a file, for SHA-1 and SHA-256.
fn members(name: &str, data: &[u8]) -> [TrustedSubject; 2] {
    File::new(name, data).unwrap().members().unwrap()
}

/// The bytes are those that `makecat` wrote for a script in the catalog of emsdk, a flat file of 25 bytes.
#[test]
fn flat_file_is_as_makecat_writes_it() {
    let [by_sha1, by_sha256] = members("register.js", b"require('./').install();\n");
    assert_eq!(
        by_sha1.identifier.as_bytes(),
        hex("CE38E0912F3260BFB493DCEFA1717239DF3B9692")
    );
    let sha256 = "E07D374C1218641C6F50CD4DA6EB202F3E825BD3658AECB369C434582CC468CD";
    assert_eq!(by_sha256.identifier.as_bytes(), hex(sha256));
    for member in [&by_sha1, &by_sha256] {
        assert_eq!(values(member, CAT_MEMBERINFO2), [hex("8200")]);
    }
    assert!(values(&by_sha1, SPC_INDIRECT_DATA).is_empty());
    let indirect_data = format!(
        "3045 3010 060A2B060104018237020119 A2028000 \
         3031 300D 06096086480165030402010500 0420 {sha256}"
    );
    assert_eq!(values(&by_sha256, SPC_INDIRECT_DATA), [hex(&indirect_data)]);
}

/// The bytes are those in the code integrity catalogs of packages from the Microsoft Store, whose members are images.
#[test]
fn image_is_as_in_store_packages() {
    let [by_sha1, by_sha256] = members("one.sys", &sample::image());
    for member in [&by_sha1, &by_sha256] {
        assert_eq!(values(member, CAT_MEMBERINFO2), [hex("8000")]);
    }
    let [data] = &values(&by_sha256, SPC_INDIRECT_DATA)[..] else {
        panic!("one value");
    };
    let expected = "304D 3018 060A2B06010401823702010F 300A 030205A0 A004A2028000 \
                    3031 300D 06096086480165030402010500 0420";
    assert_eq!(data[..data.len() - 32], hex(expected));
    assert_eq!(&data[data.len() - 32..], by_sha256.identifier.as_bytes());
}

#[test]
fn file_names_and_attributes_are_text() {
    let values = values(&members("a.inf", b"")[0], CAT_NAMEVALUE);
    // "File", "a.inf"; "OSAttr", "2:10.0". In a set the shorter element comes first.
    let file = "301E 1E080046 0069006C0065 020410010001 040C 6100 2E00 6900 6E00 6600 0000";
    let os = "3024 1E0C004F 00530041007400740072 020410010001 \
              040E 3200 3A00 3100 3000 2E00 3000 0000";
    assert_eq!(values, [hex(file), hex(os)]);
}

/// A signature does not change the hash of an image; every other change does.
#[test]
fn signature_is_not_hashed() {
    let image = sample::image();
    let hash = |image: &[u8]| File::new("one.sys", image).unwrap().sha256;
    let unsigned = hash(&image);
    let (checksum, directory) = {
        let image = Image::parse(&image).unwrap();
        // The fifth data directory: an address and a size.
        (
            image.checksum_offset(),
            image.checksum_offset() - 64 + 112 + 4 * 8,
        )
    };
    let mut signed = image.clone();
    let length = u32::try_from(image.len()).unwrap();
    signed[directory..directory + 4].copy_from_slice(&length.to_le_bytes());
    signed[directory + 4..directory + 8].copy_from_slice(&16_u32.to_le_bytes());
    signed[checksum] ^= 1;
    signed.extend([0xcc; 16]);
    assert_eq!(hash(&signed), unsigned);

    for at in [
        checksum - 8,
        checksum + 4,
        directory - 1,
        directory + 8,
        image.len() - 1,
    ] {
        let mut changed = signed.clone();
        changed[at] ^= 1;
        assert_ne!(hash(&changed), unsigned, "{at:#x}");
    }
    signed.push(0);
    let error = File::new("one.sys", &signed).err().unwrap();
    assert!(error.contains("not at its end"), "{error}");
}

#[test]
fn file_that_is_no_image_is_refused() {
    for image in [&b"MZ"[..], &sample::image()[..200]] {
        assert!(File::new("one.sys", image).is_err());
    }
}

fn catalog() -> Catalog {
    let file = |(name, data)| File::new(name, data).unwrap();
    Catalog {
        hardware_ids: vec![r"root\one".into(), r"root\two".into()],
        files: [
            ("a.inf", &b"a"[..]),
            ("b.dat", b"b"),
            ("one.sys", &sample::image()),
        ]
        .map(file)
        .into(),
        made: Duration::from_secs(1_704_164_645),
    }
}

#[test]
fn list_is_sorted_and_dated() {
    let catalog = catalog();
    let list = catalog.list().unwrap();
    assert_eq!(list.trusted_subjects.len(), 6);
    assert!(
        list.trusted_subjects
            .is_sorted_by_key(|subject| subject.identifier.as_bytes())
    );
    // 2 January 2024, 03:04:05.
    assert_eq!(list.this_update.to_der().unwrap(), b"\x17\x0d240102030405Z");
    let names = list.extensions.iter().map(|extension| {
        NameValue::from_der(extension.extn_value.as_bytes())
            .unwrap()
            .name
            .to_string()
    });
    assert_eq!(names.collect::<Vec<_>>(), ["OS", "HWID1", "HWID2"]);
}

#[test]
fn hashes_are_read_back() {
    let catalog = catalog();
    let encoded = catalog.to_der().unwrap();
    let read = hashes(&encoded).unwrap();
    assert_eq!(read.len(), 6);
    for file in &catalog.files {
        assert!(read.iter().any(|hash| hash == file.hash()), "{}", file.name);
    }
    for length in [0, 1, 100, encoded.len() - 1] {
        assert!(hashes(&encoded[..length]).is_err(), "{length} bytes");
    }
    assert_eq!(encoded, self::catalog().to_der().unwrap());
}
