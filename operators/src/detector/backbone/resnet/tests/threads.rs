use rayon::ThreadPoolBuilder;

use super::formula;
use crate::detector::backbone::Backbone;

#[test]
fn feature_maps_do_not_depend_on_threads() {
    let network = formula::resnet18(&["layer1", "layer2", "layer3"]);
    for size_px in [224, 256] {
        let image = formula::image(size_px, size_px);
        let maps = network.feature_maps(&image).unwrap();
        for threads in [1, 2] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let same = pool.install(|| network.feature_maps(&image).unwrap()) == maps;
            assert!(same, "{size_px} pixels on {threads} threads");
        }
        // As an inspecting thread runs it: alone in a pool of its own.
        let run_alone = || {
            let pool = ThreadPoolBuilder::new()
                .num_threads(1)
                .use_current_thread()
                .build()
                .unwrap();
            pool.install(|| network.feature_maps(&image).unwrap())
        };
        let at_once: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(run_alone)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(
            at_once.iter().all(|concurrent| *concurrent == maps),
            "{size_px} pixels, two images at once"
        );
    }
}

#[test]
fn maps_of_an_image_do_not_depend_on_the_image_before() {
    let network = formula::resnet18(&["layer2"]);
    let image = formula::image(96, 64);
    let first = network.feature_maps(&image).unwrap();
    network.feature_maps(&formula::image(64, 64)).unwrap();
    assert!(network.feature_maps(&image).unwrap() == first);
}
