// What the genuine tools say of an error of the engine: a number of the host, whatever was the matter.

import Glibc
package import Qcow
import Storage

extension ImageError {
  /// The host's number for it.
  package var hostNumber: Int32 {
    switch code {
    case .storage where errno != 0, .noSpace where errno != 0: errno
    case .noSpace: ENOSPC
    case .outOfService: ENOMEDIUM
    case .misaligned: EINVAL
    case .unsupported: ENOTSUP
    default: EIO
    }
  }

  /// "Input/output error" and the like.
  package var hostReason: String { FileStorage.reason(hostNumber) }
}
