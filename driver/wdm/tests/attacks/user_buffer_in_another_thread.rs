//! The buffer of a request is sent to a thread that does not have the request.

use wdm::UserBuffer;

fn send<T: Send>(_: T) {}

fn share(buffer: UserBuffer<'_>) {
    send(buffer); //~ E0277
}
