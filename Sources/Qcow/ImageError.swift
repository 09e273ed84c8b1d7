// Errors of the engine: a code for programs, a sentence for people, and the place in the image.

package import QcowFormat
package import Storage

/// An operation on an image that could not be done.
package struct ImageError: Error, CustomStringConvertible, Sendable {
  /// What is wrong, for programs.
  package enum Code: Sendable, Equatable {
    /// The image cannot be opened or created as asked.
    case format(FormatError.Code)
    /// A create or open option does not make sense.
    case option
    /// The host failed a system call.
    case storage
    /// The image may not be written; the reason is in the message.
    case readOnly
    /// The request reaches behind the end of the virtual disk, or asks for what cannot be.
    case invalidRequest
    /// The request must start and end at cluster boundaries and does not.
    case misaligned
    /// A structure read from the image is damaged.
    case corrupt
    /// Guest data cannot be had: a stream that does not expand, or damage in the layer that answers. No
    /// structure of this image is in doubt.
    case unreadable
    /// Damage was met before; the image takes no more requests.
    case outOfService
    /// Writing here would damage a structure.
    case overlap
    /// The image is encrypted, and there is no passphrase or the wrong one.
    case encrypted
    /// No cluster could be allocated, or a table cannot grow further.
    case noSpace
    /// A refcount would leave the range its width allows.
    case refcountOverflow
    /// The persistent bitmaps would no longer be true.
    case bitmaps
    /// The format allows it and this program cannot do it.
    case unsupported
  }

  /// What is wrong.
  package var code: Code
  package var description: String
  /// A further sentence, for a line of its own.
  package var hint: String?
  /// What the user can do about it in this program, a sentence for a line of its own.
  package var remedy: String?
  /// The host's error number, if a system call failed, or for want of room the one that says what kind; else 0.
  package var errno: Int32 = 0
  /// A system call failed because that was asked for.
  package var isInjected = false
  /// The structure that is in doubt or in the way, if it is one.
  package var structure: Structure?
  /// The number of the entry in it.
  package var index: UInt64?
  /// Where it lies in the file: the table of an entry, or the cluster itself.
  package var host: HostOffset?
  /// The file that the sentence names, by its path; nil if it names none.
  package var file: String?

  package init(
    _ code: Code, _ description: String, hint: String? = nil, at structure: Structure? = nil,
    index: UInt64? = nil, _ host: HostOffset? = nil
  ) {
    self.code = code
    self.description = description
    self.hint = hint
    self.structure = structure
    self.index = index
    self.host = host
  }

  /// The error of a file that stands in the way of more than a request: what cannot be done, and the host's words.
  init(_ error: StorageError, _ failure: String) {
    self.init(error)
    description = "\(failure): \(error.detail)"
  }

  /// The error of a file.
  package init(_ error: StorageError) {
    code = .storage
    isInjected = error.isInjected
    description = error.description
    hint = error.hint
    errno = error.errno
    host = error.offset.map(HostOffset.init)
    // The words of a lock name no file.
    file = error.operation == .lock ? nil : error.name
  }

  /// Damage that a check has found. The place is that of the finding; without one, as for a check that did not
  /// come to its end, the image as a whole is in doubt, which its header stands for.
  init(_ code: Code, _ description: String, at finding: CheckFinding?) {
    self.init(code, description, at: finding?.owners.first?.structure ?? .header, finding?.place)
    index = finding?.owners.first?.index
  }
}

extension CheckOwner {
  /// The kind of structure that the place belongs to.
  fileprivate var structure: Structure {
    switch self {
    case .header, .encryptionHeader: .header
    case .l1Table(let snapshot), .l1Entry(_, let snapshot): snapshot == nil ? .l1Table : .inactiveL1Table
    case .l2Table(_, let snapshot), .l2Entry(_, _, let snapshot):
      snapshot == nil ? .l2Table : .inactiveL2Table
    case .snapshotTable, .snapshotEntry: .snapshotTable
    case .refcountTable, .refcountTableEntry: .refcountTable
    case .refcountBlock: .refcountBlock
    case .bitmapDirectory, .bitmapTable, .bitmapData: .bitmaps
    }
  }

  /// The number of the entry in it.
  fileprivate var index: UInt64? {
    switch self {
    case .l1Entry(let index, _), .l2Entry(_, let index, _), .snapshotEntry(let index),
      .refcountTableEntry(let index), .bitmapTable(let index), .bitmapData(_, let index):
      UInt64(index)
    default: nil
    }
  }
}

extension ImageError {
  /// The host's words, if it was the host; else the whole sentence.
  var reason: String { errno != 0 ? FileStorage.reason(errno) : description }

  /// What failed in front of an error of the host, in place of what was done to the file then.
  func failing(_ what: String) -> ImageError {
    guard errno != 0 else { return self }
    var error = self
    error.description = "\(what): \(reason)"
    return error
  }

  /// What there is to try where the header or what it names cannot be right.
  package static let salvage = "note: 'qatlas salvage FILE' looks for what is left of an image."

  /// The error of a structure.
  package init(_ error: FormatError) {
    code = .format(error.code)
    description = error.description
    if error.code.mayBeDamage { remedy = Self.salvage }
  }
}
