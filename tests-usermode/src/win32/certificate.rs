//! Whether a certificate is in the machine's certificate stores.

use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::CRYPT_E_NOT_FOUND;
use windows_sys::Win32::Security::Cryptography as crypt;
use windows_sys::Win32::Security::Cryptography::{CERT_CONTEXT, HCERTSTORE, X509_ASN_ENCODING};

use super::{last_error, wide};
use crate::error::{Error, Result};

/// Returns whether a DER-encoded certificate is in one of the machine's stores.
pub fn is_in_store(store: &str, encoded: &[u8]) -> Result<bool> {
    let wanted = Context::parse(encoded)?;
    match Store::of_machine(store)? {
        Some(store) => store.has(&wanted),
        None => Ok(false),
    }
}

/// A certificate.
struct Context(*const CERT_CONTEXT);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: this owns the certificate, which is not used again. The function does not fail.
        unsafe { crypt::CertFreeCertificateContext(self.0) };
    }
}

impl Context {
    fn parse(encoded: &[u8]) -> Result<Self> {
        let length = u32::try_from(encoded.len())
            .map_err(|_| Error::failed("interlock.cer is longer than a certificate"))?;
        // SAFETY: the length is the buffer's, whose contents are copied.
        let context = unsafe {
            crypt::CertCreateCertificateContext(X509_ASN_ENCODING, encoded.as_ptr(), length)
        };
        if context.is_null() {
            return Err(last_error("interlock.cer is not a certificate"));
        }
        Ok(Self(context))
    }
}

/// An open certificate store.
struct Store(HCERTSTORE);

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the store is open and not used again. A failure cannot be reported.
        unsafe { crypt::CertCloseStore(self.0, 0) };
    }
}

impl Store {
    /// Opens one of the machine's stores for reading; `None` if it does not exist, as before the first certificate is added.
    fn of_machine(name: &str) -> Result<Option<Self>> {
        let wide_name = wide(name);
        // SAFETY: this provider takes a name that ends with a NUL, and ignores the encoding and the cryptographic provider.
        let store = unsafe {
            crypt::CertOpenStore(
                crypt::CERT_STORE_PROV_SYSTEM_W,
                0,
                0,
                crypt::CERT_SYSTEM_STORE_LOCAL_MACHINE
                    | crypt::CERT_STORE_OPEN_EXISTING_FLAG
                    | crypt::CERT_STORE_READONLY_FLAG,
                wide_name.as_ptr().cast(),
            )
        };
        if !store.is_null() {
            return Ok(Some(Self(store)));
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::NotFound {
            return Ok(None);
        }
        Err(Error::failed(format!(
            "the machine's store {name}: {error}"
        )))
    }

    /// Returns whether a certificate is in the store.
    fn has(&self, wanted: &Context) -> Result<bool> {
        // SAFETY: the store is open, this kind of search takes a certificate, and null begins the search.
        let found = unsafe {
            crypt::CertFindCertificateInStore(
                self.0,
                X509_ASN_ENCODING,
                0,
                crypt::CERT_FIND_EXISTING,
                wanted.0.cast(),
                ptr::null(),
            )
        };
        if !found.is_null() {
            drop(Context(found));
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(CRYPT_E_NOT_FOUND) {
            return Ok(false);
        }
        Err(Error::failed(format!(
            "CertFindCertificateInStore: {error}"
        )))
    }
}
