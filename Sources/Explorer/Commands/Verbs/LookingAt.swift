// Another state of the image on all screens: a moment of the history, an internal snapshot, a layer below. It
// is looked at only; what is done next is done to the disk as it is now.

import Cartography
import Qcow
import QcowFormat
import Storage

extension CommandID {
  static let lookAt = CommandID("look-at")
  static let difference = CommandID("difference")
}

/// A state of the image that can be looked at, and compared with.
enum SceneState: String, CaseIterable {
  case now, generation, snapshot, layer

  /// The state as an image to look at; nil for the one that is worked on.
  func scene(_ which: String, of session: Session) throws(CommandError) -> Scene? {
    let number = self == .snapshot || self == .now ? 0 : try Quantity.index(which)
    do throws(ImageError) {
      switch self {
      case .now: return nil
      case .generation: return try session.scene(at: HistoryMoment(generation: number))
      case .layer: return try session.scene(ofLayer: number)
      case .snapshot:
        guard let index = session.image.snapshots.index(idOrName: which) else {
          throw ImageError(.invalidRequest, "no snapshot has the ID or name '\(which)'")
        }
        return try session.scene(ofSnapshot: index)
      }
    } catch { throw CommandError(error.description) }
  }
}

extension Scene.Subject {
  /// The state in two words; nil for the image that is worked on.
  fileprivate func words(_ image: Image) -> String? {
    switch self {
    case .live: nil
    case .moment(let moment): "generation \(moment.generation)"
    case .snapshot(let index):
      "snapshot \(image.snapshots.indices.contains(index) ? image.snapshots[index].name : "")"
    case .layer(let depth): "layer \(depth)"
    case .file(let name): name
    case .column(let policy): policy
    }
  }
}

extension Desk {
  /// What is looked at instead of the disk as it is now; nil if nothing is.
  var otherState: String? {
    other?.name ?? scene.subject.words(session.image).map { Escaping.human($0) }
  }

  /// The disk that is seen, where a search was made: "on the disk as it is now".
  var diskWords: String { otherState.map { "on the disk of \($0)" } ?? "on the disk as it is now" }

  /// Shows another state of the image on the maps, with a way back; nil for the disk as it is. `words` say what is
  /// seen, where its name does not; `name` is what it is called where its subject says too little.
  func explore(_ scene: Scene?, as words: String? = nil, named name: String? = nil) {
    remember()
    // What is left is the state as it was before; who goes to the disk does not want to see the other one again.
    if scene == nil { look(at: nil) }
    show(.explorer)
    if scene != nil { look(at: scene, as: name) }
    tellState(words)
  }

  /// Looks at a state that was looked at before, or at the disk where it is no longer to be had.
  func look(atState state: LookedAt.Key?) {
    guard state != other?.key else { return }
    var scene: Scene?
    if let state, state.revision == session.revision {
      switch state.subject {
      case .moment(let moment): scene = try? session.scene(at: moment)
      case .snapshot(let index): scene = try? session.scene(ofSnapshot: index)
      case .layer(let depth): scene = try? session.scene(ofLayer: depth)
      case .live, .file, .column: break
      }
    }
    guard scene != nil || other != nil else { return }
    look(at: scene, as: scene == nil ? nil : state?.name)
    tellState()
  }

  /// Says what is looked at.
  fileprivate func tellState(_ words: String? = nil) {
    tell((words ?? otherState).map { "\($0); \(wayOut)" } ?? "the disk as it is now")
  }

  /// How another state is left.
  private var wayOut: String {
    currentKind == .explorer
      ? "\(key(.close)) goes back" : "\(CommandID.lookAt) now goes back to the disk"
  }

  /// Why nothing can be changed; nil if it can.
  var refusalOfChange: String? {
    otherState.map { "this is \($0), which can only be looked at; \(wayOut)" }
  }
}

extension ValueType where Value == String {
  fileprivate static var state: ValueType {
    ValueType(candidates: { _ in SceneState.allCases.map(\.rawValue) }) { word throws(CommandError) in
      guard SceneState(rawValue: word) != nil else {
        throw CommandError("there is no state '\(word)'; there are now, generation, snapshot and layer")
      }
      return word
    }
  }
}

extension ValueType where Value == String {
  /// A state or the name of a file.
  fileprivate static var stateOrFile: ValueType {
    ValueType(candidates: { SceneState.allCases.map(\.rawValue) + $0.files($0.prefix) }) {
      word throws(CommandError) in word
    }
  }
}

enum LookingAt {
  static let commands: [CommandSpec] = [
    CommandSpec(
      .lookAt, .looking,
      arguments: [CommandArgument("STATE", .state), CommandArgument("WHICH", .text, optional: true)],
      hint: "state",
      help: """
        show another state on all screens: generation N of the history, snapshot NAME, layer N below; 'now' goes \
        back to the disk as it is
        """,
      check: { command throws(CommandError) in
        guard let word = command.arguments.first, let state = SceneState(rawValue: word) else {
          throw CommandError("\(CommandID.lookAt) needs now, generation, snapshot or layer")
        }
        guard state == .now || command.arguments.count > 1 else {
          throw CommandError("\(CommandID.lookAt) \(word) needs to know which")
        }
      },
      run: { explorer, command throws(CommandError) in
        let desk = explorer.desk
        guard let state = SceneState(rawValue: command.arguments.first ?? "") else { return }
        let scene = try state.scene(command.arguments.dropFirst().first ?? "", of: desk.session)
        desk.look(at: scene)
        desk.tellState()
      }),
    CommandSpec(
      .difference, .looking,
      arguments: [
        CommandArgument("FROM", .stateOrFile, optional: true),
        CommandArgument("WHICH", .text, optional: true),
      ],
      hint: "difference",
      help: """
        what differs between what is shown and another state: FROM is now, generation N, snapshot NAME, layer N below, or \
        the name of a file with another image; without it how the image was opened
        """,
      run: { explorer, command throws(CommandError) in
        let desk = explorer.desk
        guard let maps = desk.screen(MapsScreen.self) else { return }
        desk.open(.explorer)
        guard let word = command.arguments.first else { return maps.compare(with: nil) }
        if let state = SceneState(rawValue: word), state == .now || command.arguments.count > 1 {
          let which = command.arguments.dropFirst().first ?? ""
          _ = try state.scene(which, of: desk.session)
          return maps.compare(with: .state(state, which))
        }
        guard command.arguments.count == 1 else {
          throw CommandError("\(CommandID.difference) takes a state or the name of one file")
        }
        guard let shelf = explorer.shelf else { throw CommandError("no other image can be opened here") }
        do throws(ImageError) {
          let scene = try shelf.scene(of: word)
          maps.compare(with: .file(scene, name: Escaping.human(ByteText.lastPart(of: word))))
        } catch { throw CommandError("'\(Escaping.human(word))' is not compared: \(error.description)") }
      }),
  ]
}
