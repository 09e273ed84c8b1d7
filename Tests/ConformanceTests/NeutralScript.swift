// The neutral operation list of the vectors, as values. An operation or an option that is not known here is a
// broken vector.

import EngineSupport
import Foundation
import Qcow
import Storage
import TestSupport

/// A request inside a session.
extension GuestRequest {
  /// Reads a request; nil if the list is something else.
  init?(_ list: Json) throws {
    guard case .string(let verb) = list[0] else { return nil }
    func word(_ index: Int) throws -> UInt64 { try list[index].number("argument \(index) of \(verb)") }
    switch verb {
    case "write":
      self = .write(offset: try word(1), count: try word(2), byte: UInt8(truncatingIfNeeded: try word(3)))
    case "zero": self = .zero(offset: try word(1), count: try word(2), mayUnmap: list[3].isOn)
    case "discard": self = .discard(offset: try word(1), count: try word(2))
    case "compress":
      self = .compress(offset: try word(1), count: try word(2), byte: UInt8(truncatingIfNeeded: try word(3)))
    case "flush": self = .flush
    default: return nil
    }
  }
}

/// The options that a vector creates an image with.
struct VectorCreateOptions {
  private(set) var options: Image.CreateOptions

  /// Reads the options as an object; an option that is not known here is a broken vector.
  ///
  /// An external data file is made as `d.raw` in `folder`.
  init(size: UInt64, _ fields: [String: Json], in folder: String? = nil) throws {
    options = Image.CreateOptions(size: size)
    for (name, value) in fields {
      switch name {
      case "cluster_size": options.clusterSize = try value.size(name)
      case "extended_l2": options.extendedL2 = value.isOn
      case "refcount_bits": options.refcountBits = Int(try value.size(name))
      case "compat": options.version = try value.string(name) == "0.10" ? 2 : 3
      case "lazy_refcounts": options.lazyRefcounts = value.isOn
      case "preallocation":
        let word = try value.string(name)
        guard let mode = Image.CreateOptions.Preallocation(rawValue: word) else {
          throw TestFailure("preallocation `\(word)` is not known")
        }
        options.preallocation = mode
      case "data_file":
        let path = (folder ?? "/nowhere") + "/d.raw"
        guard try value.string(name).hasSuffix("d.raw") else { throw TestFailure("data file \(value)") }
        if folder != nil { options.dataFile = ("d.raw", try FileStorage(path: path, mode: .create)) }
      case "data_file_raw": options.dataFileRaw = value.isOn
      case "compression_type": options.compressionType = try value.string(name) == "zstd" ? 1 : 0
      default: throw TestFailure("create option `\(name)` is not known")
      }
    }
  }

  /// Reads the options as the command line writes them: `a=1,b=on`.
  init(size: UInt64, commandLine text: String, in folder: String? = nil) throws {
    var fields: [String: Json] = [:]
    for part in text.split(separator: ",") {
      let pair = part.split(separator: "=", maxSplits: 1)
      guard pair.count == 2 else { throw TestFailure("`\(part)` is not an option") }
      fields[String(pair[0])] = .string(String(pair[1]))
    }
    try self.init(size: size, fields, in: folder)
  }
}

/// The options that a vector opens a session with.
func sessionOptions(_ fields: [String: Json], cache: Json = .null) throws -> Image.Options {
  var options = Image.Options()
  options.writable = true
  var cache = cache
  for (name, value) in fields {
    switch name {
    case "discard": options.discard = try value.string(name) == "ignore" ? .ignore : .unmap
    case "discard-no-unref": options.discardNoUnref = value.isOn
    case "pass-discard-request": options.passDiscardRequest = value.isOn
    case "pass-discard-snapshot": options.passDiscardSnapshot = value.isOn
    case "pass-discard-other": options.passDiscardOther = value.isOn
    case "l2-cache-entry-size": options.l2CacheEntrySize = try value.size(name)
    case "l2-cache-size": options.l2CacheSize = try value.size(name)
    case "cache": cache = value
    default: throw TestFailure("run-time option `\(name)` is not known")
    }
  }
  // With discard off nothing a guest asks for is passed down either.
  if options.discard == .ignore { options.passDiscardRequest = false }
  if case .string("writeback") = cache { options.cache = .writeback }
  return options
}
