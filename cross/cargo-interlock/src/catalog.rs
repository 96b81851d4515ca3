//! Makes the catalog of a driver package, as `inf2cat /os:10_X64` does: a list of the files' hashes, which is then signed.
//!
//! A catalog is a PKCS #7 message with a certificate trust list, which `[MS-CAESO]` describes. The subjects of the list are files. The
//! attributes of the files and of the catalog are not documented; they are written here as Microsoft's own tools write them, with
//! SHA-256 hashes and members of the second version.

use std::time::Duration;

use cms::{
    content_info::{CmsVersion, ContentInfo},
    signed_data::{EncapsulatedContentInfo, SignedData},
};
use der::{
    Any, Decode, Encode, Sequence,
    asn1::{BmpString, ObjectIdentifier, OctetString, SetOfVec, UtcTime},
};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use x509_cert::{attr::Attribute, ext::Extension, spki::AlgorithmIdentifierOwned, time::Time};

use crate::image::Image;

const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
const SHA_256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
// The names are those of wintrust.h, wincrypt.h and mscat.h.
const CTL: ObjectIdentifier = oid("1.3.6.1.4.1.311.10.1");
const CATALOG_LIST: ObjectIdentifier = oid("1.3.6.1.4.1.311.12.1.1");
const CATALOG_LIST_MEMBER2: ObjectIdentifier = oid("1.3.6.1.4.1.311.12.1.3");
const CAT_NAMEVALUE: ObjectIdentifier = oid("1.3.6.1.4.1.311.12.2.1");
const CAT_MEMBERINFO2: ObjectIdentifier = oid("1.3.6.1.4.1.311.12.2.3");
const SPC_INDIRECT_DATA: ObjectIdentifier = oid("1.3.6.1.4.1.311.2.1.4");
const SPC_PE_IMAGE_DATA: ObjectIdentifier = oid("1.3.6.1.4.1.311.2.1.15");
const SPC_CAB_DATA: ObjectIdentifier = oid("1.3.6.1.4.1.311.2.1.25");

/// The attribute is authenticated, and its name and value are text.
const NAME_VALUE_FLAGS: u32 = 0x1001_0001;

/// Windows 10 for x64: the logo program's name, for the catalog, and the platform (NT) with the version, for each file.
const OS: &str = "_v100_X64";
const OS_ATTRIBUTE: &str = "2:10.0";

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

/// The content of a catalog.
pub struct Catalog {
    /// The hardware IDs of the devices in the package.
    pub hardware_ids: Vec<String>,
    pub files: Vec<File>,
    /// The time of creation, since 1970.
    pub made: Duration,
}

/// A file of the package: its name and its hash.
pub struct File {
    pub name: String,
    subject: Subject,
    sha1: Vec<u8>,
    sha256: Vec<u8>,
}

/// How a file is hashed: the subject type of wintrust.h.
enum Subject {
    /// As a PE image, without its signature.
    Image,
    /// As a sequence of bytes.
    Flat,
}

impl Subject {
    /// Returns the member information. The first version contained the subject's GUID, `{C689AAB8-8E78-11D0-8C47-00C04FC295EE}` for an
    /// image and `{DE351A42-8E59-11D0-8C47-00C04FC295EE}` for a flat file; the second contains an empty choice.
    const fn member_info(&self) -> &'static [u8] {
        match self {
            Self::Image => &[0x80, 0],
            Self::Flat => &[0x82, 0],
        }
    }

    /// Returns the type and value that state which data is hashed.
    const fn data(&self) -> (ObjectIdentifier, &'static [u8]) {
        match self {
            // The flags of an image with all its resources, and the name of its file, which is empty.
            Self::Image => (
                SPC_PE_IMAGE_DATA,
                &[0x30, 10, 3, 2, 5, 0xa0, 0xa0, 4, 0xa2, 2, 0x80, 0],
            ),
            Self::Flat => (SPC_CAB_DATA, &[0xa2, 2, 0x80, 0]),
        }
    }
}

impl File {
    /// Hashes a file's bytes. A file that starts as an image does is hashed as one.
    pub fn new(name: &str, data: &[u8]) -> Result<Self, String> {
        let image = data
            .starts_with(b"MZ")
            .then(|| Image::parse(data))
            .transpose()?;
        let (subject, parts) = match image {
            Some(image) => (Subject::Image, image.authenticode_bytes()?.to_vec()),
            None => (Subject::Flat, vec![data]),
        };
        let (mut sha1, mut sha256) = (Sha1::new(), Sha256::new());
        for part in parts {
            sha1.update(part);
            sha256.update(part);
        }
        Ok(Self {
            name: name.into(),
            subject,
            sha1: sha1.finalize().to_vec(),
            sha256: sha256.finalize().to_vec(),
        })
    }

    /// Returns the hash under which a catalog lists the file.
    pub fn hash(&self) -> &[u8] {
        &self.sha256
    }

    /// Returns the two members of a file, one for each hash, as Microsoft's tools write them. Only the second states which data is hashed.
    fn members(&self) -> der::Result<[TrustedSubject; 2]> {
        let named = [
            attribute(CAT_MEMBERINFO2, Any::from_der(self.subject.member_info())?)?,
            attribute(
                CAT_NAMEVALUE,
                Any::encode_from(&NameValue::new("File", &self.name)?)?,
            )?,
            attribute(
                CAT_NAMEVALUE,
                Any::encode_from(&NameValue::new("OSAttr", OS_ATTRIBUTE)?)?,
            )?,
        ];
        let hashed = attribute(SPC_INDIRECT_DATA, Any::encode_from(&self.indirect_data()?)?)?;
        Ok([
            TrustedSubject {
                identifier: OctetString::new(self.sha1.clone())?,
                attributes: named.to_vec().try_into()?,
            },
            TrustedSubject {
                identifier: OctetString::new(self.sha256.clone())?,
                attributes: named
                    .into_iter()
                    .chain([hashed])
                    .collect::<Vec<_>>()
                    .try_into()?,
            },
        ])
    }

    fn indirect_data(&self) -> der::Result<SpcIndirectData> {
        let (kind, value) = self.subject.data();
        Ok(SpcIndirectData {
            data: SpcAttribute {
                kind,
                value: Any::from_der(value)?,
            },
            digest: DigestInfo {
                algorithm: algorithm(SHA_256),
                digest: OctetString::new(self.sha256.clone())?,
            },
        })
    }
}

impl Catalog {
    /// Returns the catalog without a signature.
    pub fn to_der(&self) -> der::Result<Vec<u8>> {
        let list = self.list()?;
        let signed_data = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::new(),
            encap_content_info: EncapsulatedContentInfo {
                econtent_type: CTL,
                // In PKCS #7 the content is not in an octet string here, and Microsoft's tools still write this form.
                econtent: Some(Any::encode_from(&list)?),
            },
            certificates: None,
            crls: None,
            signer_infos: SetOfVec::new().into(),
        };
        ContentInfo {
            content_type: SIGNED_DATA,
            content: Any::encode_from(&signed_data)?,
        }
        .to_der()
    }

    fn list(&self) -> der::Result<CertificateTrustList> {
        let mut subjects = Vec::new();
        for file in &self.files {
            subjects.extend(file.members()?);
        }
        subjects.sort_by(|a, b| a.identifier.as_bytes().cmp(b.identifier.as_bytes()));
        let mut extensions = vec![extension("OS", OS)?];
        for (index, id) in self.hardware_ids.iter().enumerate() {
            extensions.push(extension(&format!("HWID{}", index + 1), id)?);
        }
        Ok(CertificateTrustList {
            subject_usage: vec![CATALOG_LIST],
            // The list identifier can be any 16 bytes; these are reproducible.
            list_identifier: OctetString::new(&Sha256::digest(subjects.to_der()?)[..16])?,
            this_update: Time::UtcTime(UtcTime::from_unix_duration(self.made)?),
            subject_algorithm: algorithm(CATALOG_LIST_MEMBER2),
            trusted_subjects: subjects,
            extensions,
        })
    }
}

/// Returns the hashes in a catalog, which may be signed.
pub fn hashes(catalog: &[u8]) -> der::Result<Vec<Vec<u8>>> {
    let message = ContentInfo::from_der(catalog)?;
    let signed_data: SignedData = message.content.decode_as()?;
    let content = signed_data.encap_content_info.econtent;
    let list: CertificateTrustList = content.unwrap_or_else(Any::null).decode_as()?;
    let hashes = list.trusted_subjects.into_iter();
    Ok(hashes
        .map(|subject| subject.identifier.into_bytes())
        .collect())
}

fn attribute(oid: ObjectIdentifier, value: Any) -> der::Result<Attribute> {
    let values = vec![value].try_into()?;
    Ok(Attribute { oid, values })
}

fn extension(name: &str, value: &str) -> der::Result<Extension> {
    Ok(Extension {
        extn_id: CAT_NAMEVALUE,
        critical: false,
        extn_value: OctetString::new(NameValue::new(name, value)?.to_der()?)?,
    })
}

fn algorithm(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned {
        oid,
        parameters: Some(Any::null()),
    }
}

/// `CertificateTrustList` of `[MS-CAESO]`, without the fields that catalogs do not use.
#[derive(Sequence)]
struct CertificateTrustList {
    subject_usage: Vec<ObjectIdentifier>,
    list_identifier: OctetString,
    this_update: Time,
    subject_algorithm: AlgorithmIdentifierOwned,
    trusted_subjects: Vec<TrustedSubject>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct TrustedSubject {
    identifier: OctetString,
    attributes: SetOfVec<Attribute>,
}

/// `CAT_NAMEVALUE`: a text and its name.
#[derive(Sequence)]
struct NameValue {
    name: BmpString,
    flags: u32,
    value: OctetString,
}

impl NameValue {
    fn new(name: &str, value: &str) -> der::Result<Self> {
        let text = value.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        Ok(Self {
            name: BmpString::from_utf8(name)?,
            flags: NAME_VALUE_FLAGS,
            value: OctetString::new(text.collect::<Vec<_>>())?,
        })
    }
}

/// `SpcIndirectDataContent` of the Authenticode specification.
#[derive(Sequence)]
struct SpcIndirectData {
    data: SpcAttribute,
    digest: DigestInfo,
}

#[derive(Sequence)]
struct SpcAttribute {
    kind: ObjectIdentifier,
    value: Any,
}

#[derive(Sequence)]
struct DigestInfo {
    algorithm: AlgorithmIdentifierOwned,
    digest: OctetString,
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
