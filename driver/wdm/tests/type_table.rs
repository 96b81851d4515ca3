//! The public generic types in one table: which are `Send`, `Sync` and `Unpin`, and how each varies with each parameter.
//! The table has a row for every such type of the crate's sources.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs,
    marker::{PhantomData, PhantomPinned},
    path::{Path, PathBuf},
    rc::Rc,
    sync::MutexGuard,
};

use wdm::{
    Arrival, Busy, CancelSpinLockGuard, CancelableIrp, CurrentIrp, DeviceQueue, DeviceQueueNode,
    Dpc, DpcRoutine, FileIrp, Guard, Handled, Insert, InterlockedList, InterlockedOwner,
    InterlockedStack, Irp, IrpQueue, IrpView, KeepIrql, Lookaside, LookasideBox, LowerIrp,
    LowerIrpHandle, LowerIrpRoutine, Mutex, Node, PassiveLevel, PendedIrp, PoolAllocator,
    QueueCallbacks, QueuedSpinLock, Record, RegistryKey, Remove, Reply, RestoreIrql, Returned,
    Rundown, RwSpinLock, SList, Shared, SpinLock, Start, StartIoQueue, Thread, ThreadRoutine,
    Timer, TimerRoutine, UserBuffer, WorkItem, WorkItemRoutine, Zone, ZoneBox,
    irql::{CallerLevel, DispatchLevel, ObjectHeld, SpinLockHeld},
    lock_order::Alone,
    log::Part,
};

/// `Send` and `Sync`.
type Both = u32;
/// `Send` only.
type SendOnly = Cell<u32>;
/// `Sync` only.
type SyncOnly = MutexGuard<'static, u32>;
/// Neither.
type Neither = Rc<u32>;

struct Routine;

impl DpcRoutine for Routine {
    fn run(_: &Dpc<Self>, _: &mut DispatchLevel) {}
}

impl TimerRoutine for Routine {
    fn run(_: &Timer<Self>, _: &mut DispatchLevel) {}
}

impl ThreadRoutine for Routine {
    fn run(_: &Thread<Self>, _: &mut PassiveLevel) {}
}

impl LowerIrpRoutine for Routine {
    fn run(_: LowerIrp<Self>, _: &mut CallerLevel) {}
}

impl WorkItemRoutine for Routine {
    fn run(_: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {}
}

struct Callbacks<R>(PhantomData<fn(R) -> R>);

impl<R: Record> QueueCallbacks for Callbacks<R> {
    type Record = R;
}

/// A record with a target that is not `Sync`.
struct Unshared(Box<SendOnly>);

// SAFETY: `into_raw` returns the pointer of a box, from which `from_raw` makes the box again; there is one owner.
unsafe impl Record for Unshared {
    type Target = SendOnly;

    fn into_raw(self) -> *mut () {
        Box::into_raw(self.0).cast()
    }

    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: guaranteed by the caller.
        Self(unsafe { Box::from_raw(raw.cast()) })
    }

    unsafe fn borrow<'a>(raw: *mut ()) -> &'a SendOnly {
        // SAFETY: guaranteed by the caller.
        unsafe { &*raw.cast() }
    }
}

/// Returns whether a type implements a trait: an inherent constant, which exists only if it does, takes precedence
/// over the constant of a trait.
macro_rules! implements {
    ($type:ty, $trait:path) => {{
        struct Probe<T: ?Sized>(PhantomData<T>);
        #[allow(dead_code)]
        impl<T: ?Sized + $trait> Probe<T> {
            const IS: bool = true;
        }
        #[allow(dead_code)]
        trait Otherwise {
            const IS: bool = false;
        }
        impl<T: ?Sized> Otherwise for Probe<T> {}
        <Probe<$type>>::IS
    }};
}

/// A type and its auto traits: the first letters of `Send`, `Sync` and `Unpin`, or a dash if it does not implement
/// one.
macro_rules! marks {
    ($($type:ty => $marks:literal),+ $(,)?) => {
        vec![$((
            stringify!($type),
            [implements!($type, Send), implements!($type, Sync), implements!($type, Unpin)],
            $marks,
        )),+]
    };
}

/// How a type varies with a parameter.
enum Variance {
    /// Covariant: this file contains a coercion that compiles.
    Covariant,
    /// Invariant: this file in `tests/attacks/` contains a coercion that does not compile.
    Invariant(&'static str),
    /// The parameter's types have no subtypes.
    Fixed,
}

use Variance::{Covariant, Fixed, Invariant};

struct Row {
    name: &'static str,
    parameters: Vec<(&'static str, Variance)>,
    marks: Vec<(&'static str, [bool; 3], &'static str)>,
}

macro_rules! table {
    ($($name:ident [$($parameter:literal $variance:expr),+] { $($marks:tt)+ })+) => {
        vec![$(Row {
            name: stringify!($name),
            parameters: vec![$(($parameter, $variance)),+],
            marks: marks!($($marks)+),
        }),+]
    };
}

type Q<'a, T> = DeviceQueue<'a, T>;
type B<T> = Busy<'static, 'static, T, Arrival>;
type I<T> = Insert<'static, 'static, T, Arrival>;
type R<T> = Remove<'static, 'static, T, Arrival>;
type N<T> = ZoneBox<Node<T>>;
type C = Callbacks<()>;
type U = Callbacks<Unshared>;

#[expect(clippy::too_many_lines, reason = "there is a row for each type")]
fn table() -> Vec<Row> {
    table! {
        Busy ["'q" Covariant, "'n" Invariant("device_queue_busy_of_shorter_nodes"),
              "T" Invariant("device_queue_busy_value_shortened"), "O" Invariant("device_queue_busy_order_shortened")] {
            B<Both> => "SSU", B<SendOnly> => "--U", B<SyncOnly> => "SSU", B<Neither> => "--U",
        }
        CancelSpinLockGuard ["'a" Covariant] { CancelSpinLockGuard<'static> => "--U" }
        CancelableIrp ["C" Invariant("irp_queue_of_other_callbacks")] {
            CancelableIrp<C> => "SSU", CancelableIrp<U> => "SSU",
        }
        CurrentIrp ["C" Invariant("irp_queue_of_other_callbacks")] {
            CurrentIrp<C> => "SSU", CurrentIrp<U> => "S-U",
        }
        DeviceQueue ["'n" Invariant("device_queue_shortened"), "T" Invariant("device_queue_value_shortened"),
                     "O" Invariant("device_queue_order_shortened")] {
            Q<'static, Both> => "SS-", Q<'static, SendOnly> => "---", Q<'static, SyncOnly> => "SS-", Q<'static, Neither> => "---",
        }
        DeviceQueueNode ["T" Covariant] {
            DeviceQueueNode<Both> => "SS-", DeviceQueueNode<SendOnly> => "S--",
            DeviceQueueNode<SyncOnly> => "-S-", DeviceQueueNode<Neither> => "---",
        }
        Dpc ["C" Invariant("dpc_of_another_routine")] { Dpc<Routine> => "SSU" }
        FileIrp ["'irp" Invariant("file_irp_shortened"), "R" Invariant("file_irp_of_another_record")] {
            FileIrp<'static> => "--U", FileIrp<'static, Unshared> => "--U",
        }
        Guard ["'a" Covariant, "T" Invariant("guard_of_a_shorter_value"), "C" Invariant("guard_of_a_superclass"), "R" Fixed] {
            Guard<'static, Both, Alone, KeepIrql> => "--U", Guard<'static, SyncOnly, Alone, RestoreIrql> => "--U",
        }
        Handled ["'irp" Invariant("handled_shortened")] { Handled<'static> => "SSU" }
        Insert ["'q" Covariant, "'n" Invariant("device_queue_insert_of_shorter_nodes"),
                "T" Invariant("device_queue_insert_value_shortened"), "O" Invariant("device_queue_insert_order_shortened")] {
            I<Both> => "SSU", I<SendOnly> => "--U", I<SyncOnly> => "SSU", I<Neither> => "--U",
        }
        // The items of a list are `Send`, and cannot be accessed while they are on the list.
        InterlockedList ["I" Invariant("interlocked_list_shortened")] {
            InterlockedList<N<Both>> => "SS-", InterlockedList<N<SendOnly>> => "SS-",
        }
        InterlockedStack ["I" Invariant("interlocked_stack_shortened")] {
            InterlockedStack<N<Both>> => "SS-", InterlockedStack<N<SendOnly>> => "SS-",
        }
        InterlockedOwner ["R" Invariant("interlocked_owner_of_another_record")] {
            InterlockedOwner<Shared<Both>> => "SSU", InterlockedOwner<Unshared> => "SSU",
        }
        Irp ["'irp" Invariant("irp_mark_shortened"), "R" Invariant("irp_of_another_record")] {
            Irp<'static> => "--U", Irp<'static, Unshared> => "--U",
        }
        IrpQueue ["C" Invariant("irp_queue_of_other_callbacks")] { IrpQueue<C> => "SS-", IrpQueue<U> => "SS-" }
        IrpView ["R" Invariant("irp_view_of_another_record")] { IrpView => "--U", IrpView<Unshared> => "--U" }
        // A lookaside list contains no values, only memory for them.
        LowerIrp ["C" Invariant("lower_irp_of_another_routine")] { LowerIrp<Routine> => "SSU" }
        LowerIrpHandle ["C" Invariant("lower_irp_handle_of_another_routine")] { LowerIrpHandle<Routine> => "SSU" }
        Lookaside ["T" Invariant("lookaside_shortened")] { Lookaside<Both> => "SSU", Lookaside<Neither> => "SSU" }
        LookasideBox ["T" Covariant] {
            LookasideBox<Both> => "SSU", LookasideBox<SendOnly> => "S-U", LookasideBox<SyncOnly> => "-SU",
            LookasideBox<Neither> => "--U", LookasideBox<PhantomPinned> => "SSU",
        }
        Mutex ["T" Invariant("mutex_value_shortened")] {
            Mutex<Both> => "SS-", Mutex<SendOnly> => "SS-", Mutex<SyncOnly> => "---", Mutex<Neither> => "---",
        }
        Node ["T" Covariant] {
            Node<Both> => "SSU", Node<SendOnly> => "S-U", Node<SyncOnly> => "-SU", Node<Neither> => "--U",
            Node<PhantomPinned> => "SS-",
        }
        Part ["'a" Covariant] { Part<'static> => "SSU" }
        PendedIrp ["R" Invariant("pended_irp_of_another_record")] {
            PendedIrp => "SSU", PendedIrp<Unshared> => "S-U",
        }
        PoolAllocator ["A" Covariant] {
            PoolAllocator<Both> => "SSU", PoolAllocator<SendOnly> => "S-U", PoolAllocator<Neither> => "--U",
        }
        QueuedSpinLock ["T" Invariant("queued_spin_lock_value_shortened"), "C" Invariant("queued_spin_lock_of_a_superclass")] {
            QueuedSpinLock<Both> => "SS-", QueuedSpinLock<SendOnly> => "SS-",
            QueuedSpinLock<SyncOnly> => "---", QueuedSpinLock<Neither> => "---",
        }
        RegistryKey ["'a" Covariant] { RegistryKey<'static> => "--U" }
        Remove ["'q" Covariant, "'n" Invariant("device_queue_remove_of_shorter_nodes"),
                "T" Invariant("device_queue_remove_value_shortened"), "O" Invariant("device_queue_remove_order_shortened")] {
            R<Both> => "SSU", R<SendOnly> => "--U", R<SyncOnly> => "SSU", R<Neither> => "--U",
        }
        Reply ["O" Covariant] {
            Reply<PendedIrp> => "SSU", Reply<PendedIrp<Unshared>> => "S-U", Reply<Irp<'static>> => "--U",
        }
        Returned ["O" Covariant] {
            Returned<PendedIrp> => "SSU", Returned<PendedIrp<Unshared>> => "S-U", Returned<Irp<'static>> => "--U",
        }
        Rundown ["T" Invariant("rundown_value_shortened")] {
            Rundown<Both> => "SS-", Rundown<SendOnly> => "S--", Rundown<SyncOnly> => "---", Rundown<Neither> => "---",
        }
        RwSpinLock ["T" Invariant("rw_spin_lock_value_shortened"), "C" Invariant("rw_spin_lock_of_a_superclass")] {
            RwSpinLock<Both> => "SSU", RwSpinLock<SendOnly> => "S-U", RwSpinLock<SyncOnly> => "--U", RwSpinLock<Neither> => "--U",
        }
        // The items of a list are `Send`, and cannot be accessed while they are on the list.
        SList ["T" Invariant("slist_shortened")] {
            SList<Both> => "SSU", SList<SendOnly> => "SSU", SList<SyncOnly> => "--U", SList<Neither> => "--U",
        }
        Shared ["T" Covariant] {
            Shared<Both> => "SSU", Shared<SendOnly> => "--U", Shared<SyncOnly> => "--U", Shared<Neither> => "--U",
        }
        SpinLock ["T" Invariant("spin_lock_value_shortened"), "C" Invariant("spin_lock_of_a_superclass")] {
            SpinLock<Both> => "SS-", SpinLock<SendOnly> => "SS-", SpinLock<SyncOnly> => "---", SpinLock<Neither> => "---",
        }
        SpinLockHeld ["C" Invariant("held_token_of_a_superclass")] { SpinLockHeld<Alone> => "--U" }
        ObjectHeld ["C" Invariant("object_token_of_a_superclass")] { ObjectHeld<Alone> => "--U" }
        Start ["C" Invariant("irp_queue_of_other_callbacks")] { Start<C> => "SSU", Start<U> => "S-U" }
        StartIoQueue ["C" Invariant("irp_queue_of_other_callbacks")] {
            StartIoQueue<C> => "SS-", StartIoQueue<U> => "SS-",
        }
        Thread ["C" Invariant("thread_of_another_routine")] { Thread<Routine> => "SSU" }
        Timer ["C" Invariant("timer_of_another_routine")] { Timer<Routine> => "SSU" }
        WorkItem ["C" Invariant("work_item_of_another_routine")] { WorkItem<Routine> => "SSU" }
        UserBuffer ["'a" Covariant] { UserBuffer<'static> => "--U" }
        // A zone contains no values, only memory for them.
        Zone ["T" Invariant("zone_shortened")] { Zone<Both> => "SSU", Zone<Neither> => "SSU" }
        ZoneBox ["T" Covariant] {
            ZoneBox<Both> => "SSU", ZoneBox<SendOnly> => "S-U", ZoneBox<SyncOnly> => "-SU", ZoneBox<Neither> => "--U",
            ZoneBox<PhantomPinned> => "SSU",
        }
    }
}

/// The coercions of the table's covariant parameters.
#[allow(dead_code)]
mod covariant {
    use super::*;

    macro_rules! coercions {
        ($($name:ident: $from:ty => $to:ty;)+) => {
            $(fn $name<'a>(it: $from) -> $to {
                it
            })+
        };
    }

    coercions! {
        busy: Busy<'static, 'static, u32, Arrival> => Busy<'a, 'static, u32, Arrival>;
        cancel_spin_lock_guard: CancelSpinLockGuard<'static> => CancelSpinLockGuard<'a>;
        device_queue_node: DeviceQueueNode<&'static str> => DeviceQueueNode<&'a str>;
        guard: Guard<'static, u32, Alone, KeepIrql> => Guard<'a, u32, Alone, KeepIrql>;
        insert: Insert<'static, 'static, u32, Arrival> => Insert<'a, 'static, u32, Arrival>;
        lookaside_box: LookasideBox<&'static str> => LookasideBox<&'a str>;
        node: Node<&'static str> => Node<&'a str>;
        part: Part<'static> => Part<'a>;
        pool_allocator: PoolAllocator<&'static str> => PoolAllocator<&'a str>;
        registry_key: RegistryKey<'static> => RegistryKey<'a>;
        remove: Remove<'static, 'static, u32, Arrival> => Remove<'a, 'static, u32, Arrival>;
        reply: Reply<&'static str> => Reply<&'a str>;
        returned: Returned<&'static str> => Returned<&'a str>;
        shared: Shared<&'static str> => Shared<&'a str>;
        user_buffer: UserBuffer<'static> => UserBuffer<'a>;
        zone_box: ZoneBox<&'static str> => ZoneBox<&'a str>;
    }
}

#[test]
fn each_type_has_the_properties_in_the_table() {
    for row in table() {
        for (name, is, expected) in row.marks {
            let found: String = is
                .iter()
                .zip("SSU".chars())
                .map(|(is, letter)| if *is { letter } else { '-' })
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}

#[test]
fn each_invariant_parameter_has_a_coercion_that_does_not_compile() {
    let attacks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    for row in table() {
        for (parameter, variance) in row.parameters {
            if let Invariant(file) = variance {
                let path = attacks.join(file).with_extension("rs");
                let source = fs::read_to_string(&path).unwrap_or_default();
                let is_of_it = source.contains(&format!("{}<", row.name))
                    || (row.name == "Guard" && source.contains("SpinLockGuard<"));
                assert!(is_of_it, "{} in {parameter}: {}", row.name, path.display());
            }
        }
    }
}

/// Returns the names of the parameters of a declaration.
fn parameters(list: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let mut parts = vec![String::new()];
    for letter in list.chars() {
        match letter {
            '<' | '(' => depth += 1,
            '>' if depth == 0 => break,
            '>' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("a part").push(letter);
    }
    let name = |part: &String| {
        part.split([':', '='])
            .next()
            .map(|name| name.trim().to_owned())
    };
    parts
        .iter()
        .filter_map(name)
        .filter(|name| !name.is_empty())
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the sources are readable");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// Returns the generic types that the sources declare as `pub`, with their parameters.
fn declared() -> BTreeMap<String, Vec<String>> {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let mut declared = BTreeMap::new();
    for source in sources {
        let text = fs::read_to_string(source).expect("a source");
        for keyword in ["pub struct ", "pub enum ", "pub union "] {
            for (at, _) in text.match_indices(keyword) {
                // A declaration, not a word in a comment.
                let line = text.get(..at).and_then(|before| before.rsplit('\n').next());
                if !line.is_some_and(|line| line.trim().is_empty()) {
                    continue;
                }
                let rest = text.get(at + keyword.len()..).unwrap_or_default();
                let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
                let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
                if let Some(list) = rest.strip_prefix('<') {
                    declared.insert(name.to_owned(), parameters(list));
                }
            }
        }
    }
    declared
}

/// A bound on a public trait is enough to call a safe method of its sealed supertrait.
#[test]
fn no_driver_can_call_a_method_of_a_sealed_trait() {
    let source_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let texts = sources(&source_folder).into_iter().map(|path| {
        let text = fs::read_to_string(&path).expect("a source");
        (path, syn::parse_file(&text).expect("the source parses"))
    });
    let modules = texts.flat_map(|(path, file)| {
        let sealed = file.items.into_iter().filter_map(|item| match item {
            syn::Item::Mod(module) if module.ident == "sealed" => module.content,
            _ => None,
        });
        sealed.map(move |(_, items)| (path.clone(), items))
    });
    let mut count = 0;
    for (path, item) in
        modules.flat_map(|(path, items)| items.into_iter().map(move |item| (path.clone(), item)))
    {
        let syn::Item::Trait(sealed) = item else {
            continue;
        };
        for item in sealed.items {
            let syn::TraitItem::Fn(method) = item else {
                continue;
            };
            let takes_internal = method.sig.inputs.iter().any(|input| {
                matches!(input, syn::FnArg::Typed(typed)
                    if matches!(&*typed.ty, syn::Type::Path(path) if path.path.is_ident("Internal")))
            });
            let name = &method.sig.ident;
            assert!(
                method.sig.unsafety.is_some() || takes_internal,
                "{}: {name}",
                path.display()
            );
            count += 1;
        }
    }
    assert!(count >= 2, "{count} methods of sealed traits");
}

#[test]
fn each_public_generic_type_has_a_row_with_its_parameters() {
    let rows: BTreeMap<String, Vec<String>> = table()
        .into_iter()
        .map(|row| {
            let names = row.parameters.iter().map(|(name, _)| (*name).to_owned());
            (row.name.to_owned(), names.collect())
        })
        .collect();
    assert_eq!(rows.len(), table().len(), "two rows of one type");
    assert_eq!(rows, declared());
    let covariant: BTreeSet<_> = table()
        .iter()
        .filter(|row| {
            row.parameters
                .iter()
                .any(|(_, variance)| matches!(variance, Covariant))
        })
        .map(|row| row.name)
        .collect();
    let this =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/type_table.rs"))
            .expect("this file");
    for name in covariant {
        assert!(
            this.contains(&format!(": {name}<")),
            "no coercion of `{name}`"
        );
    }
}
