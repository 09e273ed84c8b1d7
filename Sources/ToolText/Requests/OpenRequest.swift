// How a command is to open an image: cache and discard modes, and the option string of
// `--image-opts`, with the words of the genuine tool for what is wrong.

import Cartography
import Nbd
package import Qcow
import Storage

/// A file name and how to open it.
package struct OpenRequest {
  /// Why the words make no sense.
  package typealias Refusal = CreateRequest.Refusal

  /// The path of the image.
  package var file: String
  /// It is opened for reading alone.
  package var isReadOnly: Bool
  /// What the file is to be read as, if the options say it; nil for what it turns out to be.
  package var format: LayerName.Format?
  /// The options that the engine takes.
  package var options: Image.Options
  /// What may be opened besides.
  package var policy = ChainPolicy()
  /// What overlap checks start from, and the single ones that are switched.
  private var overlapTemplate: String?
  private var overlapSwitches: [(check: OverlapChecks, isOn: Bool)] = []
  /// The driver is that of the file itself.
  private var isFile = false
  /// The options that name another layer below, or none.
  private var backing: [String: String] = [:]
  /// The name of the secret that unlocks the image.
  package var secretName: String?
  /// Faults that are injected into the file.
  private var faults: FaultRequest?

  /// A file name, also with "file:" in front or as "json:{…}", with the modes of `-t` and `-d`.
  ///
  /// - Throws: ``Refusal`` for a mode of the cache or of discards that does not exist.
  package init(file: String, readOnly: Bool, cache: String?, discard: String?) throws(Refusal) {
    self.file = file
    isReadOnly = readOnly
    options = try Self.options(cache, discard)
    if ByteText.starts(file, with: "file:") {
      self.file = String(file.utf8.dropFirst(5)) ?? ""
      guard !self.file.isEmpty else {
        throw Refusal(cannotOpen: "The 'file' block driver requires a file name")
      }
    } else if ByteText.starts(file, with: "blkdebug:") {
      try inject(try FaultRequest(name: String(file.utf8.dropFirst(9)) ?? ""))
    } else if ByteText.starts(file, with: "json:") {
      self.file = ""
      let members: [String: String]
      do throws(JsonName.Failure) {
        members = try JsonName(String(file.utf8.dropFirst(5)) ?? "").members
      } catch {
        throw Refusal(cannotOpen: "Could not parse the JSON options: \(Escaping.human(error.reason))")
      }
      try read(members.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
    }
    // A path may begin as an address does.
    if ByteText.starts(file, with: "file:"), NbdAddress.isAddress(self.file) { self.file = "./" + self.file }
  }

  /// An option string, "driver=qcow2,file.filename=…".
  ///
  /// - Throws: ``Refusal`` for an option that is unknown, contradicts another, or has no such value.
  package init(options list: String, readOnly: Bool, cache: String?, discard: String?) throws(Refusal) {
    file = ""
    isReadOnly = readOnly
    options = try Self.options(cache, discard)
    var pairs: [(String, String)] = []
    for item in try CreateRequest.items(of: list, firstIsValue: true) {
      let (name, value) = CreateRequest.sides(of: item)
      // A first word alone is the name of something opened before, and there is nothing.
      if value == nil && pairs.isEmpty || name == "file" { throw Self.noDevice(value ?? name) }
      pairs.append((name, value ?? "on"))
    }
    try read(pairs)
  }

  /// How the image is to be opened. `asked` is the value of `-f`; what the options say counts more.
  package func opening(_ asked: String?) -> ImageOpening {
    var opening = ImageOpening(file, policy, options)
    opening.format = .any(asked: format?.rawValue ?? asked)
    return opening
  }

  /// Changes single options, as `reopen` does.
  ///
  /// - Throws: ``Refusal`` for an option that is unknown or cannot be changed.
  package mutating func change(_ list: String) throws(Refusal) {
    for item in try CreateRequest.items(of: list) {
      let (name, value) = CreateRequest.sides(of: item)
      try set(name, value ?? "on")
    }
    options.overlapChecks = try overlapChecks()
  }

  /// The layer below that the options name in place of the image's own.
  private func otherBacking() throws(Refusal) -> ChainPolicy.Backing? {
    guard !backing.isEmpty else { return nil }
    guard let path = backing["backing.file.filename"] ?? backing["backing.filename"] else {
      guard let name = backing["backing"] else {
        throw Refusal(cannotOpen: "A block device must be specified for \"file\"")
      }
      guard name.isEmpty || name == "null" else { throw Self.noDevice(name) }
      return .nothing
    }
    let driver = backing["backing.driver"]
    let format = driver == "file" ? .raw : driver.flatMap { LayerName.Format(rawValue: $0) }
    guard driver == nil || format != nil else {
      throw Refusal(cannotOpen: "Unknown driver '\(Escaping.human(driver ?? ""))'")
    }
    return .file(path, format)
  }

  private static func noDevice(_ name: String) -> Refusal {
    let name = Escaping.human(name)
    return Refusal(cannotOpen: "Cannot find device='\(name)' nor node-name='\(name)'")
  }

  /// The file is one with faults.
  private mutating func inject(_ faults: FaultRequest) throws(Refusal) {
    policy.faults = try faults.plan()
    file = faults.path
  }

  /// Names and values of options; without a driver the file says itself what it is.
  private mutating func read(_ given: [(String, String)]) throws(Refusal) {
    let pairs = try connect(given)
    let driver = pairs.last { $0.0 == "driver" }?.1
    guard driver != nil || !file.isEmpty || pairs.contains(where: { $0.0.hasPrefix("file.") })
    else {
      throw Refusal(cannotOpen: "Must specify either driver or file")
    }
    if let driver {
      let name = Escaping.human(driver)
      guard LayerName.known.contains(driver) else { throw Refusal(cannotOpen: "Unknown driver '\(name)'") }
      format = driver == "file" || driver == "nbd" ? .raw : LayerName.Format(rawValue: driver)
      guard format != nil else {
        throw Refusal(cannotOpen: "the driver '\(name)' is not supported, only qcow2 and raw")
      }
    }
    isFile = driver == "file"
    if pairs.contains(where: { $0 == ("file.driver", "blkdebug") }) { faults = FaultRequest() }
    for (name, value) in pairs where name != "driver" { try set(name, value) }
    if let faults { try inject(faults) }
    guard !file.isEmpty else { throw Refusal(cannotOpen: "A block device must be specified for \"file\"") }
    if options.detectZeroes == .unmap && options.discard == .ignore {
      throw Refusal(
        cannotOpen: "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap"
      )
    }
    policy.backing = try otherBacking()
    options.overlapChecks = try overlapChecks()
  }

  /// Takes the address of a server out of options, if they have one.
  private mutating func connect(_ pairs: [(String, String)]) throws(Refusal) -> [(String, String)] {
    let prefix: String
    if pairs.contains(where: { $0 == ("driver", "nbd") }) {
      prefix = ""
    } else if pairs.contains(where: { $0 == ("file.driver", "nbd") }) {
      prefix = "file."
    } else {
      return pairs
    }
    var used: Set<String> = ["file.driver"]
    do throws(NbdAddress.Refusal) {
      file = try NbdAddress(options: Dictionary(pairs) { $1 }, prefix, &used).uri
    } catch { throw Refusal(cannotOpen: error.reason) }
    return pairs.filter { !used.contains($0.0) }
  }

  private func overlapChecks() throws(Refusal) -> OverlapChecks {
    var checks: OverlapChecks
    switch overlapTemplate {
    case nil, "cached": checks = .cached
    case "none": checks = []
    case "constant": checks = .constant
    case "all": checks = .all
    case .some(let other):
      throw Refusal(
        cannotOpen: "Unsupported value '\(Escaping.human(other))' for qcow2 option 'overlap-check'. "
          + "Allowed are any of the following: none, constant, cached, all")
    }
    for (check, isOn) in overlapSwitches {
      if isOn { checks.insert(check) } else { checks.remove(check) }
    }
    return checks
  }

  private static func options(_ cache: String?, _ discard: String?) throws(Refusal) -> Image.Options {
    var options = Image.Options()
    switch cache {
    case nil, "writethrough", "directsync": options.cache = .writethrough
    case "none", "off", "writeback", "unsafe": options.cache = .writeback
    case .some(let other): throw Refusal("Invalid cache option: \(Escaping.human(other))")
    }
    switch discard {
    case nil, "unmap", "on": options.discard = .unmap
    case "ignore", "off": options.discard = .ignore
    case .some(let other): throw Refusal("Invalid discard option: \(Escaping.human(other))")
    }
    return options
  }

  private mutating func set(_ name: String, _ value: String) throws(Refusal) {
    switch name {
    case "file.driver" where faults != nil, "file.node-name" where faults != nil: break
    case let name where faults != nil && name.hasPrefix("file."):
      try faults?.set(String(name.dropFirst(5)), value)
    case "file.filename": file = value
    case "filename" where isFile: file = value
    case "file.driver":
      guard value == "file" else {
        guard LayerName.known.contains(value) else {
          throw Refusal(cannotOpen: "Unknown driver '\(Escaping.human(value))'")
        }
        throw Refusal(cannotOpen: "the protocol '\(Escaping.human(value))' is not supported, only file")
      }
    case "read-only": isReadOnly = try Self.flag(name, value)
    case "discard":
      guard ["unmap", "on", "ignore", "off"].contains(value) else {
        throw Refusal(cannotOpen: "Invalid discard option")
      }
      options.discard = value == "unmap" || value == "on" ? .unmap : .ignore
    case "pass-discard-request": options.passDiscardRequest = try Self.flag(name, value)
    case "pass-discard-snapshot": options.passDiscardSnapshot = try Self.flag(name, value)
    case "pass-discard-other": options.passDiscardOther = try Self.flag(name, value)
    case "discard-no-unref": options.discardNoUnref = try Self.flag(name, value)
    case "l2-cache-size": options.l2CacheSize = try Self.size(name, value)
    case "l2-cache-entry-size": options.l2CacheEntrySize = try Self.size(name, value)
    case "detect-zeroes":
      switch value {
      case "off": options.detectZeroes = .off
      case "on": options.detectZeroes = .on
      case "unmap": options.detectZeroes = .unmap
      default:
        throw Refusal(
          cannotOpen: "Parameter 'detect-zeroes' does not accept value '\(Escaping.human(value))'")
      }
    case "lazy-refcounts": options.lazyRefcounts = try Self.flag(name, value)
    case "data-file", "data-file.filename": policy.dataFile = value
    case "data-file.driver":
      guard value == "file" else {
        guard LayerName.known.contains(value) else {
          throw Refusal(cannotOpen: "Unknown driver '\(Escaping.human(value))'")
        }
        throw Refusal(cannotOpen: "the protocol '\(Escaping.human(value))' is not supported, only file")
      }
    case "encrypt.key-secret": secretName = value
    case "encrypt.format":
      guard value == "luks" || value == "aes" else {
        throw Refusal(cannotOpen: "Invalid parameter '\(Escaping.human(value))'")
      }
    case "force-share": policy.forcesShare = try Self.flag(name, value)
    case "file.locking":
      guard ["on", "off", "auto"].contains(value) else {
        throw Refusal(cannotOpen: "Parameter 'locking' does not accept value '\(Escaping.human(value))'")
      }
      policy.takesLocks = value != "off"
    case "overlap-check", "overlap-check.template":
      if let before = overlapTemplate, before != value {
        throw Refusal(
          cannotOpen:
            "Conflicting values for qcow2 options 'overlap-check' ('\(Escaping.human(before))') and "
            + "'overlap-check.template' ('\(Escaping.human(value))')")
      }
      overlapTemplate = value
    case let name where name.hasPrefix("overlap-check."):
      guard let known = OverlapChecks.names.first(where: { "overlap-check." + $0.name == name }) else {
        throw unknown(name)
      }
      overlapSwitches.append((known.check, try Self.flag(name, value)))
    // These change how fast things go, not what is in the file.
    case "cache-size", "refcount-cache-size", "cache-clean-interval", "node-name", "file.aio":
      break
    case "cache.direct", "cache.no-flush", "file.cache.direct": _ = try Self.flag(name, value)
    case "backing", "backing.driver", "backing.filename", "backing.file.filename", "backing.file.driver":
      backing[name] = value
    default: throw unknown(name)
    }
  }

  private func unknown(_ name: String) -> Refusal {
    Refusal(
      cannotOpen:
        "Block format '\(format?.rawValue ?? "qcow2")' does not support the option '\(Escaping.human(name))'"
    )
  }

  private static func flag(_ name: String, _ value: String) throws(Refusal) -> Bool {
    switch value {
    case "on", "yes", "true", "y": return true
    case "off", "no", "false", "n": return false
    default: throw Refusal(cannotOpen: "Parameter '\(name)' expects 'on' or 'off'")
    }
  }

  private static func size(_ name: String, _ value: String) throws(Refusal) -> UInt64 {
    if let size = try? Notation.parse(value) { return size }
    throw Refusal(cannotOpen: "Parameter '\(name)' expects a non-negative number below 2^64")
  }
}
