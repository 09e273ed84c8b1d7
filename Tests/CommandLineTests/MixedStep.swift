// One step of a session over a chain of images: the line that both tools get, and what it does to the twins. Steps
// are drawn from a seed and from what the chain is at that moment.

import EngineSupport
import Foundation
import TestSupport

struct MixedStep {
  enum Verb: String, CaseIterable {
    case io, compress, abort, take, apply, delete, bitmap, resize, amend, commit, rebase, convert, overlay,
      check

    /// How often each is drawn.
    fileprivate static let drawn: [Verb] =
      allCases + [
        .io, .io, .io, .io, .take, .apply, .bitmap, .commit, .rebase, .convert, .overlay, .resize, .amend,
      ]
  }

  var verb: Verb
  var tool = "qemu-img"
  var words: [String]
  /// The file that it is mainly about. Before a check it gets a cluster that nobody owns, so that there is something
  /// to repair.
  var layer: String
  /// What it does to the twins once the genuine tool has ended with that result.
  var effect: (inout LayeredTwin, ProcessResult) throws -> Void = { _, _ in }

  /// The line as a shell runs it.
  var line: String {
    (verb == .check ? "# a leaked cluster at the end of \(layer)\n" : "") + tool + " "
      + words.map { $0.contains(" ") || $0.isEmpty ? "'\($0)'" : $0 }.joined(separator: " ")
  }
}

/// Draws steps.
struct MixedSteps {
  private(set) var words: SeededWords
  private var made = 0

  init(seed: UInt64) { words = SeededWords(random: SplitMix64(seed: seed)) }

  // MARK: Images

  /// A name that no file has had.
  private mutating func newName() -> String {
    made += 1
    return "f\(made)"
  }

  /// A disk of at most 1.5 MiB.
  private mutating func size() -> UInt64 {
    let size = (1 + words.random.below(24)) * 65536
    return words.isOne(in: 2) ? size : size - words.random.below(128) * 512
  }

  /// A new image, with the options it is made with.
  private mutating func image(above: Bool, copy: Bool = false) -> (layer: TwinLayer, options: String) {
    var layer = TwinLayer(name: newName(), features: above ? [.backing] : [], disk: TwinDisk(size: size()))
    let size = words.one(["512", "4096", "4096", "16384", "16384", "65536", "65536", "65536", "2097152"])
    layer.clusterSize = UInt64(size) ?? 65536
    var options = ["cluster_size=\(size)"]
    if words.isOne(in: 7) {
      options.append("compat=0.10")
      layer.features?.insert(.version2)
      return (layer, options.joined(separator: ","))
    }
    if layer.clusterSize >= 16384, words.isOne(in: 3) {
      options.append("extended_l2=on")
      layer.features?.insert(.subclusters)
    }
    if words.isOne(in: 4) {
      options.append("refcount_bits=\(words.one(["1", "2", "4", "8", "32", "64"]))")
      layer.features?.insert(.otherWidth)
    }
    if words.isOne(in: 5) {
      options.append("lazy_refcounts=on")
      layer.features?.insert(.lazy)
    }
    if words.isOne(in: 6) { options.append("compression_type=zstd") }
    if words.isOne(in: 7) {
      options.append("data_file=\(layer.name).data")
      layer.features?.insert(.dataFile)
      if !above, words.isOne(in: 2) { options.append("data_file_raw=on") }
    } else if !above, !copy, words.isOne(in: 8) {
      options.append("preallocation=metadata")
    }
    return (layer, options.joined(separator: ","))
  }

  /// Makes the files of a session in a folder with the genuine tool, and tells how.
  mutating func start(in folder: String) throws -> (twin: LayeredTwin, lines: [String]) {
    var twin = LayeredTwin()
    var lines: [String] = []
    func must(_ tool: String, _ words: [String]) throws -> ProcessResult {
      let step = MixedStep(verb: .io, tool: tool, words: words, layer: "")
      lines.append(step.line)
      let result = try run(tool, words, directory: folder, timeout: 60)
      guard result.status == 0 || tool == "qemu-io" else {
        throw TestFailure("\(step.line): \(result.stderr)")
      }
      return result
    }
    let isEncrypted = words.isOne(in: 12)
    let depth = 1 + Int(words.random.below(isEncrypted ? 2 : 4))
    for level in 0..<depth {
      let below = twin.chain.last
      if isEncrypted, level == depth - 1 {
        // A passphrase is asked for the uppermost image alone.
        var layer = TwinLayer(name: newName(), features: [.encryption], disk: TwinDisk(size: 1 << 20))
        layer.clusterSize = words.isOne(in: 2) ? 4096 : 65536
        try GenuineEncryption.copy(
          folder + "/" + layer.name, "cluster_size=\(layer.clusterSize),encrypt.format=luks", size: "1M")
        lines.append("# \(layer.name): an encrypted image")
        if let below {
          layer.features?.insert(.backing)
          _ = try must(
            "qemu-img", ["rebase", "-u", "-b", below.name, "-F", below.format] + layer.target)
          layer.disk.take(below.disk.bytes)
        }
        twin.chain.append(layer)
      } else if level == 0, depth > 1, words.isOne(in: 4) {
        let layer = TwinLayer(name: newName(), features: nil, disk: TwinDisk(size: size()))
        _ = try must("qemu-img", ["create", "-q", "-f", "raw", layer.name, "\(layer.disk.size)"])
        twin.chain.append(layer)
      } else {
        let step = create(above: below)
        let result = try must("qemu-img", step.words)
        try step.effect(&twin, result)
      }
      let step = io(twin.top)
      let result = try must(step.tool, step.words)
      try step.effect(&twin, result)
    }
    if words.isOne(in: 2) {
      let isRaw = words.isOne(in: 3)
      let (layer, options) = image(above: false)
      var side = layer
      if isRaw { side.features = nil }
      _ = try must(
        "qemu-img",
        ["create", "-q", "-f", side.format] + (isRaw ? [] : ["-o", options]) + [
          side.name, "\(side.disk.size)",
        ])
      twin.side = side
      let step = io(side)
      let result = try must(step.tool, step.words)
      try step.effect(&twin, result)
    }
    return (twin, lines)
  }

  // MARK: Steps

  /// The next step.
  mutating func next(_ twin: LayeredTwin) -> MixedStep {
    while true {
      let verb = MixedStep.Verb.drawn[Int(words.random.below(UInt64(MixedStep.Verb.drawn.count)))]
      if let step = draw(verb, twin) { return step }
    }
  }

  private mutating func draw(_ verb: MixedStep.Verb, _ twin: LayeredTwin) -> MixedStep? {
    let images = twin.chain.filter { !$0.isRaw }
    let any = words.isOne(in: 2) ? twin.top : images[Int(words.random.below(UInt64(images.count)))]
    switch verb {
    case .io: return io(twin.top)
    case .compress: return io(twin.top, compresses: true)
    case .abort: return io(twin.top, aborts: true)
    case .take: return take(any)
    case .apply: return apply(twin.top)
    case .delete: return delete(any)
    case .bitmap:
      // Most lines name a bitmap that is not there.
      let line =
        words.isOne(in: 2)
        ? ["bitmap", "--add"] + any.target + [words.one(["b0", "b1"])]
        : BitmapVerbTests.line(&words, any.target, others: false)
      return MixedStep(verb: .bitmap, words: line, layer: any.name)
    case .resize: return resize(any, isTop: any.name == twin.top.name)
    case .amend: return amend(any, isTop: any.name == twin.top.name)
    case .commit: return commit(twin)
    case .rebase: return rebase(twin)
    case .convert: return convert(twin)
    case .overlay: return twin.chain.count < 4 && !twin.top.has(.encryption) ? create(above: twin.top) : nil
    case .check:
      guard any.clusterSize < 2 << 20 else { return nil }
      return MixedStep(
        verb: .check, words: ["check", "-r", words.one(["leaks", "all"])] + any.target, layer: any.name)
    }
  }

  private mutating func io(_ layer: TwinLayer, compresses: Bool = false, aborts: Bool = false) -> MixedStep {
    var mix = RequestMix(
      units: [layer.clusterSize, 65536, 4096, 512].filter { $0 < layer.disk.size },
      longest: [4 * min(65536, layer.clusterSize), 200_000])
    if compresses {
      mix.kinds = [.compress]
      mix.units = [layer.clusterSize]
    }
    if mix.units.isEmpty { mix.units = [512] }
    let requests = (0...words.random.below(4)).map { _ in words.random.request(mix, on: layer.disk.size) }
    let commands = requests.map(\.ioCommand) + (aborts ? ["flush", "abort"] : [])
    let cache = words.isOne(in: 4) ? ["-t", "writethrough"] : []
    return MixedStep(
      verb: compresses ? .compress : aborts ? .abort : .io, tool: "qemu-io",
      words: cache + commands.flatMap { ["-c", $0] } + layer.ioTarget, layer: layer.name
    ) { twin, result in
      // Each request tells that it was done, or that it failed. What an abort leaves unsaid was done.
      let told = result.stdout.split(separator: "\n").filter { !$0.contains(" ops; ") }
      guard aborts || told.count == requests.count else {
        throw TestFailure("\(requests.count) requests, and \(told.count) answers: \(result.stdout)")
      }
      twin.change(layer.name) { layer in
        for (number, request) in requests.enumerated() where aborts || !told[number].contains("failed") {
          layer.apply(request)
        }
      }
    }
  }

  private mutating func take(_ layer: TwinLayer) -> MixedStep? {
    guard layer.snapshots.count < 4 else { return nil }
    let name = words.one(["one", "two", "three", "2", "one more"])
    return MixedStep(verb: .take, words: ["snapshot", "-c", name] + layer.target, layer: layer.name) {
      twin, result in
      guard result.status == 0 else { return }
      twin.change(layer.name) { layer in
        let id = 1 + (layer.snapshots.map(\.id).max() ?? 0)
        layer.snapshots.append(.init(id: id, name: name, disk: layer.disk))
        layer.features?.insert(.snapshots)
      }
    }
  }

  private mutating func apply(_ layer: TwinLayer) -> MixedStep? {
    guard !layer.snapshots.isEmpty else { return nil }
    let name = words.one(layer.snapshots.flatMap { [$0.name, "\($0.id)"] })
    return MixedStep(verb: .apply, words: ["snapshot", "-a", name] + layer.target, layer: layer.name) {
      twin, result in
      guard result.status == 0 else { return }
      let all = layer.snapshots
      guard let found = all.first(where: { "\($0.id)" == name }) ?? all.first(where: { $0.name == name })
      else {
        throw TestFailure("there is no snapshot \(name)")
      }
      twin.change(layer.name) { $0.disk = found.disk }
    }
  }

  private mutating func delete(_ layer: TwinLayer) -> MixedStep? {
    guard !layer.snapshots.isEmpty else { return nil }
    let name = words.one(layer.snapshots.map(\.name))
    return MixedStep(verb: .delete, words: ["snapshot", "-d", name] + layer.target, layer: layer.name) {
      twin, result in
      guard result.status == 0 else { return }
      twin.change(layer.name) { layer in
        if let index = layer.snapshots.firstIndex(where: { $0.name == name }) {
          layer.snapshots.remove(at: index)
        }
      }
    }
  }

  private mutating func resize(_ layer: TwinLayer, isTop: Bool) -> MixedStep {
    var new = size()
    // What lies above a layer would read otherwise.
    if !isTop { new = max(new, layer.disk.size + 65536) }
    var line = ["resize"]
    if new < layer.disk.size { line.append("--shrink") }
    if new > layer.disk.size, words.isOne(in: 3) {
      line.append("--preallocation=" + words.one(["metadata", "falloc", "full"]))
    }
    return MixedStep(verb: .resize, words: line + layer.target + ["\(new)"], layer: layer.name) {
      twin, result in
      if result.status == 0 { twin.change(layer.name) { $0.disk.resize(to: new, cluster: $0.clusterSize) } }
    }
  }

  private mutating func amend(_ layer: TwinLayer, isTop: Bool) -> MixedStep? {
    let options = AmendTests.options(&words, layer.features ?? []).filter { option in
      !option.contains("100M") && !option.hasPrefix("data_file=") && (isTop || !option.hasPrefix("size="))
    }
    guard !options.isEmpty else { return nil }
    return MixedStep(
      verb: .amend, words: ["amend", "-o", options.joined(separator: ",")] + layer.target, layer: layer.name
    ) { twin, result in
      guard result.status == 0 else { return }
      twin.change(layer.name) { layer in
        for option in options {
          switch option {
          case "compat=0.10", "compat=v2": layer.features?.insert(.version2)
          case "compat=1.1", "compat=v3": layer.features?.remove(.version2)
          case "size=1M": layer.disk.resize(to: 1 << 20, cluster: layer.clusterSize)
          case "size=2M": layer.disk.resize(to: 2 << 20, cluster: layer.clusterSize)
          case "size=4M": layer.disk.resize(to: 4 << 20, cluster: layer.clusterSize)
          case "size=1536k": layer.disk.resize(to: 1536 << 10, cluster: layer.clusterSize)
          default: break
          }
        }
      }
    }
  }

  private mutating func commit(_ twin: LayeredTwin) -> MixedStep? {
    guard twin.chain.count > 1 else { return nil }
    let top = twin.top
    let isFar = twin.chain.count > 2 && words.isOne(in: 3)
    let depth = isFar ? Int(words.random.below(UInt64(twin.chain.count - 2))) : twin.chain.count - 2
    let base = twin.chain[depth]
    let line = ["commit"] + (isFar ? ["-b", base.name] : words.isOne(in: 3) ? ["-d"] : [])
    return MixedStep(verb: .commit, words: line + top.target, layer: top.name) { twin, result in
      guard result.status == 0 else { return }
      twin.change(base.name) { base in
        if base.disk.size < top.disk.size { base.disk.resize(to: top.disk.size, cluster: base.clusterSize) }
        base.disk.take(top.disk.bytes)
      }
      let new = twin.chain[depth].disk.bytes
      for index in (depth + 1)..<twin.chain.count {
        if index < twin.chain.count - 1 { twin.chain[index].disk.loosen([new]) }
        twin.loosenSnapshots(twin.chain[index].name, [new])
      }
    }
  }

  private mutating func rebase(_ twin: LayeredTwin) -> MixedStep? {
    let top = twin.top
    var below = twin.chain.dropLast().map(\.name) + [""]
    if let side = twin.side { below += [side.name, side.name] }
    // The genuine tool has no relative names for an image that is named by options.
    let name = top.has(.encryption) ? "" : words.one(below)
    let new = twin.all.first { $0.name == name }
    var line = ["rebase", "-b", name]
    if let new { line += ["-F", new.format] }
    let isUnsafe = words.isOne(in: 6)
    if isUnsafe { line.append("-u") } else if words.isOne(in: 5) { line.append("-c") }
    return MixedStep(verb: .rebase, words: line + top.target, layer: top.name) { twin, result in
      guard result.status == 0 else { return }
      let old = twin.chain.dropLast().last
      var top = twin.top
      top.features?.remove(.backing)
      if new != nil { top.features?.insert(.backing) }
      // What the bytes were that something read from below, and what they are now.
      let others = [new, old].compactMap { $0?.disk.bytes }
      for index in top.snapshots.indices { top.snapshots[index].disk.loosen(others) }
      if isUnsafe { top.disk.loosen(others) }
      if let new, new.name == twin.side?.name {
        twin.chain = [new, top]
        twin.side = nil
      } else {
        let kept = new.flatMap { new in twin.chain.firstIndex { $0.name == new.name } }.map { $0 + 1 } ?? 0
        twin.chain = Array(twin.chain[..<kept]) + [top]
      }
    }
  }

  private mutating func convert(_ twin: LayeredTwin) -> MixedStep? {
    let source = twin.top
    switch words.random.below(6) {
    case 0:
      let side = TwinLayer(name: newName(), features: nil, disk: source.disk)
      return MixedStep(
        verb: .convert, words: ["convert", "-O", "raw"] + source.target + [side.name], layer: side.name
      ) { twin, result in if result.status == 0 { twin.side = side } }
    case 1:
      guard let side = twin.side, side.disk.size >= source.disk.size else { return nil }
      return MixedStep(
        verb: .convert, words: ["convert", "-n", "-O", side.format] + source.target + [side.name],
        layer: side.name
      ) { twin, result in if result.status == 0 { twin.side?.disk.take(source.disk.bytes) } }
    default:
      let below = twin.chain.count > 1 && words.isOne(in: 2) ? twin.chain[twin.chain.count - 2] : nil
      var (layer, options) = image(above: below != nil, copy: true)
      var line = ["convert", "-O", "qcow2", "-o", options]
      layer.disk = source.disk
      if let below { line += ["-B", below.name, "-F", below.format] }
      if words.isOne(in: 3) { line.append("-c") }
      if words.isOne(in: 4) { line += ["-S", words.one(["0", "64k", "512"])] }
      if below == nil, !source.has(.encryption),
        let snapshot = source.snapshots.first(where: { $0.disk.size == source.disk.size }), words.isOne(in: 2)
      {
        line += ["-l", "snapshot.id=\(snapshot.id),snapshot.name=\(snapshot.name)"]
        layer.disk = snapshot.disk
      }
      return MixedStep(verb: .convert, words: line + source.target + [layer.name], layer: layer.name) {
        [layer] twin, result in
        guard result.status == 0 else { return }
        twin.chain = (below == nil ? [] : twin.chain.dropLast()) + [layer]
      }
    }
  }

  private mutating func create(above below: TwinLayer?) -> MixedStep {
    let (drawn, options) = image(above: below != nil)
    var layer = drawn
    var line = ["create", "-q", "-f", "qcow2", "-o", options]
    if let below { line += ["-b", below.name, "-F", below.format] }
    line.append(layer.name)
    if below == nil || words.isOne(in: 2) {
      line.append("\(layer.disk.size)")
    } else if let below {
      layer.disk = TwinDisk(size: below.disk.size)
    }
    if let below { layer.disk.take(below.disk.bytes) }
    return MixedStep(verb: .overlay, words: line, layer: layer.name) { [layer] twin, result in
      if result.status == 0 { twin.chain.append(layer) }
    }
  }
}
