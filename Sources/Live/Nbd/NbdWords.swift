// The numbers of the NBD protocol, by their names in its document (doc/proto.md of the NBD project, "Values").

/// Numbers that stand at the start of what is sent.
enum NbdMagic {
  static let server: UInt64 = 0x4e42_444d_4147_4943
  static let option: UInt64 = 0x4948_4156_454f_5054
  static let optionReply: UInt64 = 0x0003_e889_0455_65a9
  static let request: UInt32 = 0x2560_9513
  static let simpleReply: UInt32 = 0x6744_6698
  static let structuredReply: UInt32 = 0x668e_33ef
}

/// What a client asks for before it uses a disk.
enum NbdOption {
  static let exportName: UInt32 = 1
  static let abort: UInt32 = 2
  static let list: UInt32 = 3
  static let info: UInt32 = 6
  static let go: UInt32 = 7
  static let structuredReply: UInt32 = 8
  static let listMetaContext: UInt32 = 9
  static let setMetaContext: UInt32 = 10
}

/// What is answered to that.
enum NbdAnswer {
  static let ack: UInt32 = 1
  static let server: UInt32 = 2
  static let info: UInt32 = 3
  static let metaContext: UInt32 = 4
  static let unsupported: UInt32 = 1 << 31 + 1
  static let invalid: UInt32 = 1 << 31 + 3
  static let unknown: UInt32 = 1 << 31 + 6
  static let tooBig: UInt32 = 1 << 31 + 9
}

/// Facts of a disk that a client may ask for.
enum NbdInfo {
  static let export: UInt16 = 0
  static let name: UInt16 = 1
  static let description: UInt16 = 2
  static let blockSize: UInt16 = 3
}

/// What a disk can do ("Transmission flags").
struct NbdAbilities: OptionSet {
  let rawValue: UInt16

  static let hasFlags = Self(rawValue: 1)
  static let readOnly = Self(rawValue: 1 << 1)
  static let flush = Self(rawValue: 1 << 2)
  static let forceUnitAccess = Self(rawValue: 1 << 3)
  static let trim = Self(rawValue: 1 << 5)
  static let writeZeroes = Self(rawValue: 1 << 6)
  static let dontFragment = Self(rawValue: 1 << 7)
  static let multiConnection = Self(rawValue: 1 << 8)
  static let cache = Self(rawValue: 1 << 10)
  static let fastZero = Self(rawValue: 1 << 11)
}

/// How a request is meant ("Command flags").
struct NbdFlags: OptionSet {
  let rawValue: UInt16

  /// The request has reached the disk when it is answered.
  static let forceUnitAccess = Self(rawValue: 1)
  /// Zeroes keep their place.
  static let noHole = Self(rawValue: 1 << 1)
  /// One piece of answer.
  static let dontFragment = Self(rawValue: 1 << 2)
  /// One extent is enough.
  static let oneExtent = Self(rawValue: 1 << 3)
  /// Zeroes only if that is faster than to write them.
  static let fastZero = Self(rawValue: 1 << 4)
}

/// What a request asks for.
enum NbdCommand: UInt16 {
  case read = 0
  case write = 1
  case disconnect = 2
  case flush = 3
  case trim = 4
  case cache = 5
  case writeZeroes = 6
  case blockStatus = 7

  /// The flags that it may have.
  var flags: NbdFlags {
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
enum NbdPiece {
  static let isLast: UInt16 = 1
  static let data: UInt16 = 1
  static let blockStatus: UInt16 = 5
  static let error: UInt16 = 1 << 15 + 1
}

/// Why a request failed ("Error values").
enum NbdError {
  static let notPermitted: UInt32 = 1
  static let input: UInt32 = 5
  static let memory: UInt32 = 12
  static let invalid: UInt32 = 22
  static let noSpace: UInt32 = 28
  static let unsupported: UInt32 = 95
}
