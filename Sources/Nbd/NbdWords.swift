// The numbers of the NBD protocol, by their names in its document (doc/proto.md of the NBD project, "Values").

/// Numbers that stand at the start of what is sent.
package enum NbdMagic {
  /// The server's first word.
  package static let server: UInt64 = 0x4e42_444d_4147_4943
  /// An option.
  package static let option: UInt64 = 0x4948_4156_454f_5054
  /// An answer to an option.
  package static let optionReply: UInt64 = 0x0003_e889_0455_65a9
  /// A request.
  package static let request: UInt32 = 0x2560_9513
  /// An answer in one piece.
  package static let simpleReply: UInt32 = 0x6744_6698
  /// A piece of an answer.
  package static let structuredReply: UInt32 = 0x668e_33ef
}

/// What a client asks for before it uses a disk.
package enum NbdOption {
  /// By its name in the document: export name.
  package static let exportName: UInt32 = 1
  /// By its name in the document: abort.
  package static let abort: UInt32 = 2
  /// By its name in the document: list.
  package static let list: UInt32 = 3
  /// By its name in the document: info.
  package static let info: UInt32 = 6
  /// By its name in the document: go.
  package static let go: UInt32 = 7
  /// A piece of an answer.
  package static let structuredReply: UInt32 = 8
  /// By its name in the document: list meta context.
  package static let listMetaContext: UInt32 = 9
  /// By its name in the document: set meta context.
  package static let setMetaContext: UInt32 = 10
}

/// What is answered to that.
package enum NbdAnswer {
  /// By its name in the document: ack.
  package static let ack: UInt32 = 1
  /// The server's first word.
  package static let server: UInt32 = 2
  /// By its name in the document: info.
  package static let info: UInt32 = 3
  /// By its name in the document: meta context.
  package static let metaContext: UInt32 = 4
  /// By its name in the document: unsupported.
  package static let unsupported: UInt32 = 1 << 31 + 1
  /// By its name in the document: invalid.
  package static let invalid: UInt32 = 1 << 31 + 3
  /// By its name in the document: tls required.
  package static let tlsRequired: UInt32 = 1 << 31 + 5
  /// By its name in the document: unknown.
  package static let unknown: UInt32 = 1 << 31 + 6
  /// By its name in the document: too big.
  package static let tooBig: UInt32 = 1 << 31 + 9
}

/// Facts of a disk that a client may ask for.
package enum NbdInfo {
  /// By its name in the document: export.
  package static let export: UInt16 = 0
  /// By its name in the document: name.
  package static let name: UInt16 = 1
  /// By its name in the document: description.
  package static let description: UInt16 = 2
  /// By its name in the document: block size.
  package static let blockSize: UInt16 = 3
}

/// What a disk can do ("Transmission flags").
package struct NbdAbilities: OptionSet {
  /// As it is sent.
  package let rawValue: UInt16
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  /// By its name in the document: has flags.
  package static let hasFlags = Self(rawValue: 1)
  /// By its name in the document: read only.
  package static let readOnly = Self(rawValue: 1 << 1)
  /// By its name in the document: flush.
  package static let flush = Self(rawValue: 1 << 2)
  /// By its name in the document: force unit access.
  package static let forceUnitAccess = Self(rawValue: 1 << 3)
  /// By its name in the document: trim.
  package static let trim = Self(rawValue: 1 << 5)
  /// By its name in the document: write zeroes.
  package static let writeZeroes = Self(rawValue: 1 << 6)
  /// By its name in the document: dont fragment.
  package static let dontFragment = Self(rawValue: 1 << 7)
  /// By its name in the document: multi connection.
  package static let multiConnection = Self(rawValue: 1 << 8)
  /// By its name in the document: cache.
  package static let cache = Self(rawValue: 1 << 10)
  /// By its name in the document: fast zero.
  package static let fastZero = Self(rawValue: 1 << 11)
}

/// How a request is meant ("Command flags").
package struct NbdFlags: OptionSet {
  /// As it is sent.
  package let rawValue: UInt16
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The request has reached the disk when it is answered.
  package static let forceUnitAccess = Self(rawValue: 1)
  /// Zeroes keep their place.
  package static let noHole = Self(rawValue: 1 << 1)
  /// One piece of answer.
  package static let dontFragment = Self(rawValue: 1 << 2)
  /// One extent is enough.
  package static let oneExtent = Self(rawValue: 1 << 3)
  /// Zeroes only if that is faster than to write them.
  package static let fastZero = Self(rawValue: 1 << 4)
}

/// What a request asks for.
package enum NbdCommand: UInt16 {
  case read = 0
  case write = 1
  case disconnect = 2
  case flush = 3
  case trim = 4
  case cache = 5
  case writeZeroes = 6
  case blockStatus = 7

  /// The flags that it may have.
  package var flags: NbdFlags {
    switch self {
    case .read: [.dontFragment]
    case .write, .trim: [.forceUnitAccess]
    case .writeZeroes: [.forceUnitAccess, .noHole, .fastZero]
    case .blockStatus: [.oneExtent]
    case .disconnect, .flush, .cache: []
    }
  }
}

/// Pieces of an answer ("Structured reply types").
package enum NbdPiece {
  /// By its name in the document: is last.
  package static let isLast: UInt16 = 1
  /// By its name in the document: nothing.
  package static let nothing: UInt16 = 0
  /// By its name in the document: data.
  package static let data: UInt16 = 1
  /// By its name in the document: hole.
  package static let hole: UInt16 = 2
  /// By its name in the document: block status.
  package static let blockStatus: UInt16 = 5
  /// By its name in the document: error.
  package static let error: UInt16 = 1 << 15 + 1
  /// By its name in the document: error at.
  package static let errorAt: UInt16 = 1 << 15 + 2
}

/// Why a request failed ("Error values").
package enum NbdError {
  /// By its name in the document: not permitted.
  package static let notPermitted: UInt32 = 1
  /// By its name in the document: input.
  package static let input: UInt32 = 5
  /// By its name in the document: memory.
  package static let memory: UInt32 = 12
  /// By its name in the document: invalid.
  package static let invalid: UInt32 = 22
  /// By its name in the document: no space.
  package static let noSpace: UInt32 = 28
  /// By its name in the document: unsupported.
  package static let unsupported: UInt32 = 95
}
