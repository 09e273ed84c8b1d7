// A folder in memory with the files of a lesson or a question, and what is done there: the words of the genuine
// tools, each line as a process of its own. No file of the host is opened, made or named here.

import Glibc
package import Qcow
import QcowFormat
package import Storage
import ToolText

/// The files of a lesson, by name.
package final class Workbench {
  /// At most so many files, and so many bytes of disk for each.
  static let mostFiles = 16
  static let largestDisk: UInt64 = 1 << 40
  /// What the files of a bench may hold together that is not zeroes.
  static let mostBytes: UInt64 = 64 << 20

  package private(set) var files: [String: MemoryStorage]
  /// What stands before a file and notes down what is done to it.
  var stands: [String: any Storage] = [:]
  /// Wrong orders that images take that are opened here.
  package var wrongOrders: Set<WrongOrder> = []
  /// What the lines since the last ``forgetOutput()`` printed.
  package private(set) var output = ""

  /// An empty bench, or one with copies of the files of another.
  package init(_ files: [String: MemoryStorage] = [:]) { self.files = files }

  /// The same files again: pages are shared until one side writes.
  package func copy() -> Workbench { Workbench(files.mapValues { $0.copy() }) }

  package func forgetOutput() { output = "" }

  /// A file by its name.
  ///
  /// - Throws: ``LessonProblem`` if there is none.
  package func file(_ name: String) throws(LessonProblem) -> MemoryStorage {
    guard let file = files[name] else { throw LessonProblem("there is no file '\(name)'") }
    return file
  }

  /// A file, or what stands before it. Throws ``LessonProblem`` if there is none.
  private func storage(_ name: String) throws(LessonProblem) -> any Storage {
    let file = try file(name)
    return stands[name] ?? file
  }

  /// Opens a file as an image, with the files that it names.
  ///
  /// - Throws: ``LessonProblem`` for a file that is not there, or is no image that can be opened.
  package func open(
    _ name: String, _ session: SessionOptions = SessionOptions(), isReadOnly: Bool = false
  ) throws(LessonProblem) -> Image {
    let storage = try storage(name)
    do throws(ImageError) {
      var options = options(session)
      options.writable = !isReadOnly
      let image = try Image(storage, options: options)
      WrongOrder.switchOn(wrongOrders, in: image)
      return image
    } catch { throw LessonProblem("\(name): \(error.description)") }
  }

  /// Opens a file for looking; nil if it is no image that can be opened.
  ///
  /// - Throws: ``LessonProblem`` for a file that is not there.
  func look(_ name: String) throws(LessonProblem) -> Image? {
    let file = try file(name)
    var options = options()
    options.writable = false
    return try? Image(file, options: options)
  }

  /// How an image of this bench is opened.
  package func options(_ session: SessionOptions = SessionOptions()) -> Image.Options {
    var options = session.options
    options.writable = true
    options.layers = self
    return options
  }

  /// Changes bytes of a file behind everybody's back: `poke ADDRESS DIGITS`, `punch ADDRESS LENGTH`, `cut LENGTH`.
  ///
  /// - Throws: ``LessonProblem`` for words that mean nothing.
  package func change(_ name: String, _ verb: String, _ words: [String]) throws(LessonProblem) {
    let file = try file(name)
    guard let first = words.first.flatMap(Size.bytes), first <= Self.largestDisk else {
      throw LessonProblem("'\(verb)' needs a number")
    }
    do throws(StorageError) {
      switch verb {
      case "cut": try file.truncate(to: first, tag: .untagged)
      case "punch":
        guard words.count > 1, let count = Size.bytes(words[1]) else {
          throw StorageError(.write, name: name, detail: "'punch' needs a length")
        }
        try file.punch(at: first, count: count, tag: .untagged)
      default:
        let digits = words.dropFirst().joined()
        var bytes: [UInt8] = []
        var rest = digits[...]
        while rest.count > 1, let byte = UInt8(rest.prefix(2), radix: 16) {
          bytes.append(byte)
          rest = rest.dropFirst(2)
        }
        guard rest.isEmpty, !bytes.isEmpty else {
          throw StorageError(.write, name: name, detail: "'\(digits)' is no row of bytes")
        }
        try file.write(bytes, at: first)
      }
    } catch { throw LessonProblem(error.description) }
  }

  /// Does one line: `img WORDS`, or `io FILE: REQUEST; REQUEST`, a session of its own.
  ///
  /// - Throws: ``LessonProblem`` for words that mean nothing here, and for what fails; ``output`` tells it as
  ///   the genuine tool would.
  package func run(_ line: String) throws(LessonProblem) {
    let words = Self.words(line)
    switch words.first {
    case "img": try image(Array(words.dropFirst()))
    case "io": try requests(line)
    case "noise": try noise(words)
    case "poke", "punch", "cut":
      guard words.count > 2, words[1].hasSuffix(":") else { throw LessonProblem("'\(words[0])' needs FILE:") }
      try change(String(words[1].dropLast()), words[0], Array(words.dropFirst(2)))
    default: throw LessonProblem("a line begins with 'img' or 'io', not with '\(words.first ?? "")'")
    }
    try requireSmall()
  }

  /// The files do not hold more than a lesson may have.
  ///
  /// - Throws: ``LessonProblem`` if they do.
  func requireSmall() throws(LessonProblem) {
    let held = files.values.reduce(UInt64(0)) { $0 &+ $1.allocatedBytes }
    guard held <= Self.mostBytes else {
      throw LessonProblem("the files hold more than \(Self.mostBytes >> 20) MiB")
    }
  }

  /// A request of so many bytes is one that a lesson may make: no number in it but a pattern's, an option's or a place's
  /// stands for more than the files may hold.
  ///
  /// - Throws: ``LessonProblem`` if it is too long.
  static func requireSmall(_ request: String) throws(LessonProblem) {
    let words = Self.words(request)
    // Discards and zeroes change entries only, and zeroes may have to be written as bytes.
    guard ["write", "read"].contains(words.first), let count = words.last.flatMap(Size.bytes) else { return }
    guard count <= mostBytes || words.contains("-z") else {
      throw LessonProblem("a request of a lesson has at most \(mostBytes >> 20) MiB")
    }
  }

  /// Words between blanks; quotes keep blanks, and are the only way to an empty word.
  package static func words(_ line: String) -> [String] {
    var words: [String] = []
    var word = ""
    var isOpen = false
    var isQuoted = false
    for character in line {
      switch character {
      case "\"":
        isQuoted.toggle()
        isOpen = true
      case " ", "\t":
        if isQuoted {
          word.append(character)
        } else if isOpen {
          words.append(word)
          (word, isOpen) = ("", false)
        }
      default:
        word.append(character)
        isOpen = true
      }
    }
    return isOpen ? words + [word] : words
  }

  /// A raw file of numbers that look random and are the same everywhere.
  private func noise(_ words: [String]) throws(LessonProblem) {
    guard words.count == 4, words[1].hasSuffix(":"), var state = Size.bytes(words[2]),
      let length = Size.bytes(words[3]), length <= Self.mostBytes
    else { throw LessonProblem("'noise' needs FILE: SEED LENGTH") }
    let name = String(words[1].dropLast())
    var bytes: [UInt8] = []
    while UInt64(bytes.count) < length {
      state &+= 0x9e37_79b9_7f4a_7c15
      var mixed = state
      mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
      mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
      mixed ^= mixed >> 31
      bytes += (0..<8).map { UInt8(truncatingIfNeeded: mixed >> (56 - 8 * UInt64($0))) }
    }
    files[name] = MemoryStorage(name: name, bytes: Array(bytes.prefix(Int(length))))
  }

  // MARK: Requests

  private func requests(_ line: String) throws(LessonProblem) {
    guard let colon = line.firstIndex(of: ":") else { throw LessonProblem("'io' needs FILE: REQUESTS") }
    let head = Self.words(String(line[..<colon])).dropFirst()
    var format: String?
    var names: [String] = []
    var words = Array(head)
    while let word = words.first {
      words.removeFirst()
      if word == "-f", let next = words.first {
        format = next
        words.removeFirst()
      } else {
        names.append(word)
      }
    }
    guard let name = names.first, names.count == 1 else { throw LessonProblem("'io' needs one file") }
    let disk: any GuestDisk
    let file = try file(name)
    if format == "raw" || format == nil && ImageBytes(file) == nil {
      var options = Image.Options()
      options.writable = true
      disk = RawDisk(file, options, isGuessed: false)
    } else {
      disk = try self.open(name)
    }
    let session = IoSession(disk, terminal: terminal, program: "qemu-io")
    for request in line[line.index(after: colon)...].split(separator: ";") {
      try Self.requireSmall(String(request.drop { $0 == " " }))
      guard session.run(String(request.drop { $0 == " " })) == .done else {
        throw LessonProblem("'\(request)' failed")
      }
    }
    do throws(ImageError) { try disk.close() } catch { throw LessonProblem(error.description) }
  }

  /// Requests print to ``output``; they have no other files.
  var terminal: IoSession.Terminal {
    IoSession.Terminal(
      output: { [weak self] text in self?.take(text) }, error: { [weak self] text in self?.take(text) },
      load: { (_: String) throws(IoSession.LoadError) in
        throw IoSession.LoadError("a lesson has no files of the host")
      })
  }

  /// A hostile lesson prints no more than this.
  private func take(_ text: String) {
    if output.utf8.count < 1 << 20 { output += text }
  }

  // MARK: Verbs

  private func image(_ words: [String]) throws(LessonProblem) {
    guard let verb = words.first else { throw LessonProblem("'img' needs a verb") }
    let parsed = try ImageWords(words)
    switch verb {
    case "create":
      try create(
        parsed, try parsed.operand(0), size: parsed.operands.count > 1 ? parsed.operands[1] : nil)
    case "check":
      guard let word = parsed.options["-r"] else { return }
      guard let scope = RepairScope(rawValue: word) else {
        throw LessonProblem("'check -r' needs leaks or all, not '\(word)'")
      }
      try repair(try parsed.operand(0), scope)
    case "convert": try convert(parsed)
    default:
      guard let (name, change) = try parsed.change() else {
        throw LessonProblem("a lesson has no verb '\(verb)'")
      }
      try self.change(name, change)
    }
  }

  private func change(_ name: String, _ change: any Change) throws(LessonProblem) {
    let image = try self.open(name)
    do throws(ImageError) {
      if let bitmap = change as? any BitmapChange {
        // They reach the file when it is closed, as with the genuine tool.
        try image.changeBitmaps(bitmap.action)
      } else {
        try change.run(on: image)
      }
      try image.close()
    } catch {
      throw LessonProblem(Self.reason(error))
    }
  }

  /// Repairs a file as the genuine tool does: leaks are given back, whatever they hold.
  private func repair(_ name: String, _ scope: RepairScope) throws(LessonProblem) {
    let storage = try storage(name)
    var opening = options()
    opening.cache = .writeback
    opening.repairsDirty = false
    opening.standsAlone = true
    let work = Repair(scope, dropsLeaks: true).begin(
      on: storage,
      open: { (table) throws(ImageError) in
        var options = opening
        options.snapshots = table
        return try Image(storage, options: options)
      }, report: { _ in })
    do throws(ImageError) {
      let result = try work.run()
      if result.failure == nil { try work.finish() }
    } catch { throw LessonProblem(Self.reason(error)) }
  }

  /// Copies a disk into a new image: `convert -f FORMAT -O qcow2 [-c] [-o OPTIONS] FROM TO`.
  private func convert(_ words: ImageWords) throws(LessonProblem) {
    guard words.options["-O"] == "qcow2" else { throw LessonProblem("'convert' needs -O qcow2") }
    let (source, target) = (try words.operand(0), try words.operand(1))
    let layer: any GuestLayer
    do throws(ImageError) {
      layer = try self.layer(source, isRaw: words.options["-f"] == "raw", depth: 0)
    } catch {
      throw LessonProblem(error.description)
    }
    guard layer.virtualSize <= Self.mostBytes else {
      throw LessonProblem("'\(source)' is too long to be copied")
    }
    try create(words, target, size: String(layer.virtualSize))
    let image = try self.open(target)
    var options = CopyOptions()
    options.compresses = words.flags.contains("-c")
    options.targetIsZero = image.isZeroWhenNew
    do throws(CopyFailure) {
      let copy = try GuestCopy([layer], to: image, options)
      while try copy.step() {}
      try copy.finish()
    } catch { throw LessonProblem(Self.reason(error.error)) }
    do throws(ImageError) { try image.close() } catch { throw LessonProblem(Self.reason(error)) }
  }

  /// The host's words for an error, as the genuine tools tell it.
  package static func reason(_ error: ImageError) -> String {
    switch error.code {
    case .unsupported: FileStorage.reason(ENOTSUP)
    case .storage where error.errno != 0: FileStorage.reason(error.errno)
    default: error.description
    }
  }

  private func create(_ words: ImageWords, _ name: String, size: String?) throws(LessonProblem) {
    guard !name.isEmpty, name.utf8.allSatisfy(Self.isPlain) else {
      throw LessonProblem("'\(name)' is no name for a file here: letters, digits, '-', '_' and '.'")
    }
    guard files[name] != nil || files.count < Self.mostFiles else {
      throw LessonProblem("there are \(Self.mostFiles) files already")
    }
    let storage = MemoryStorage(name: name)
    do throws(CreateRequest.Refusal) {
      if words.verb == "create", words.options["-f"] == "raw" {
        let request = try RawCreateRequest(
          file: name, size: size, lists: [], backing: nil, backingFormat: nil)
        guard request.size <= Self.largestDisk else { throw Self.tooLarge }
        do throws(ImageError) {
          try RawLayer(storage).resize(to: ByteCount(request.size), .off)
        } catch { throw CreateRequest.Refusal(error.description) }
      } else {
        let request = try CreateRequest(
          file: name, size: size, lists: words.lists, backing: words.options["-b"],
          backingFormat: words.options["-F"],
          open: { (name, format) throws(CreateRequest.Refusal) in try self.look(name, format) })
        if let refusal = request.refusal { throw refusal }
        guard request.options.size <= Self.largestDisk else { throw Self.tooLarge }
        var options = request.options
        try Self.requireFew(options)
        if let data = request.dataFile {
          let file = MemoryStorage(name: data)
          files[data] = file
          options.dataFile = (data, file)
        }
        do throws(ImageError) { try Image.create(on: storage, options) } catch {
          throw CreateRequest.Refusal(error.description)
        }
      }
    } catch { throw LessonProblem(error.description) }
    files[name] = storage
  }

  /// What is made in advance is no more than a lesson may have.
  private static func requireFew(_ options: Image.CreateOptions) throws(CreateRequest.Refusal) {
    guard options.preallocation != .off else { return }
    let clusters = options.size / max(512, options.clusterSize)
    guard clusters <= 1 << 18, options.preallocation != .full || options.size <= 2 * mostBytes else {
      throw CreateRequest.Refusal("so much is not made in advance in a lesson")
    }
  }

  private static let tooLarge = CreateRequest.Refusal("a disk of a lesson has at most 1 TiB")

  /// Letters, digits and three signs: no way to another folder.
  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
      true
    default: false
    }
  }

  /// What a new image is told of its backing file.
  private func look(_ name: String, _ format: String?) throws(CreateRequest.Refusal) -> CreateRequest.Backing
  {
    do throws(ImageError) {
      let layer = try openBacking(name, format: format, imagePath: "")
      return CreateRequest.Backing(
        size: layer?.virtualSize ?? 0, format: layer is RawLayer ? "raw" : "qcow2")
    } catch { throw CreateRequest.Refusal(cannotOpen: error.description) }
  }
}

extension Workbench: LayerOpener {
  package func openBacking(
    _ name: String, format: String?, imagePath: String
  ) throws(ImageError) -> (any GuestLayer)? {
    try layer(name, isRaw: format == "raw", depth: 0)
  }

  package func openDataFile(
    _ name: String?, imagePath: String, writable: Bool
  ) throws(ImageError) -> (any Storage)? {
    guard let name, let file = files[name] else {
      throw ImageError(.unsupported, "the data file '\(name ?? "")' is not there")
    }
    return file
  }

  package func openNamed(_ layer: LayerName, below imagePath: String) throws(ImageError) -> any GuestLayer {
    try self.layer(layer.path, isRaw: layer.format == .raw, depth: 0)
  }

  private func layer(_ name: String, isRaw: Bool, depth: Int) throws(ImageError) -> any GuestLayer {
    guard let file = files[name] else { throw ImageError(.unsupported, "there is no file '\(name)'") }
    guard !isRaw else { return RawLayer(file) }
    var options = Image.Options()
    options.layers = NamedBelow(bench: self, depth: depth + 1)
    return try Image(file, options: options)
  }

  /// Opens what a layer names in turn, so far down that no ring of files is followed for ever.
  private final class NamedBelow: LayerOpener {
    private let bench: Workbench
    private let depth: Int

    init(bench: Workbench, depth: Int) {
      self.bench = bench
      self.depth = depth
    }

    func openBacking(_ name: String, format: String?, imagePath: String) throws(ImageError) -> (
      any GuestLayer
    )? {
      guard depth <= Workbench.mostFiles else {
        throw ImageError(.unsupported, "the chain of backing files does not end")
      }
      return try bench.layer(name, isRaw: format == "raw", depth: depth)
    }

    func openDataFile(_ name: String?, imagePath: String, writable: Bool) throws(ImageError) -> (any Storage)?
    {
      try bench.openDataFile(name, imagePath: imagePath, writable: writable)
    }

    func openNamed(_ layer: LayerName, below imagePath: String) throws(ImageError) -> any GuestLayer {
      try bench.layer(layer.path, isRaw: layer.format == .raw, depth: depth)
    }
  }
}
